// Music that is composed instead of heard; on the page it is a recording without sound.
import { moodName } from "./moods.js";
import { bare } from "./notes.js";
import { Recording } from "./recording.js";

export class Composition extends Recording {
  // wish: {valence, arousal, seconds, key, seed, guidance, temperature}, where null
  // leaves the choice to the engine; prompt: notes that it continues, or null.
  constructor(wish, prompt, changed) {
    super({ name: moodName(wish) }, {}, changed);
    this.wish = wish;
    this.prompt = prompt;
  }

  // Returns the same music, or with another seed other music of the same mood.
  again(changed, seed = this.wish.seed) {
    return new Composition({ ...this.wish, seed }, this.prompt, changed);
  }

  async open(engine, rateHz, onEvent) {
    const prompt = this.prompt?.map(bare) ?? null;
    const job = await engine.compose({ ...this.wish, prompt, name: this.name }, onEvent);
    this.seed = job.seed;
    this.name = `${this.name} ${job.seed}`;
    return job;
  }
}
