// The sound of the transcription: spessasynth with two sound banks.
import { SECURE_ONLY } from "./audio.js";
import { partOf, soundingProgram } from "./instruments.js";
import { WorkletSynthesizer } from "./vendor/spessasynth.js";

const DRUM_CHANNEL = 9;
const CHANNELS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15];
const VOLUME = 7; // MIDI controllers
const PEDAL = 64;
const ALL_SOUND_OFF = 120;

const here = (path) => new URL(path, import.meta.url);

export class Synth {
  static async create(context, destination) {
    if (!context.audioWorklet) throw new Error(SECURE_ONLY);
    await context.audioWorklet.addModule(here("./vendor/spessasynth_processor.js"));
    const synthesizer = new WorkletSynthesizer(context);
    synthesizer.connect(destination);
    await synthesizer.isReady;
    return new Synth(synthesizer);
  }

  constructor(synthesizer) {
    this.synthesizer = synthesizer;
    this.banks = new Map(); // name -> promise
    this.channels = new Map(); // part -> channel
  }

  // Loads what these parts need and gives them channels.
  async prepare(parts) {
    await Promise.all(
      [...parts].map((part) =>
        this.#bank(part !== "drums" && soundingProgram(part) === 0 ? "piano" : "band"),
      ),
    );
    this.channels.clear();
    for (const part of parts) {
      if (part === "drums") this.channels.set(part, DRUM_CHANNEL);
      else {
        // Beyond fifteen parts, some share a channel and the sound of its last one.
        const channel = CHANNELS[this.channels.size % CHANNELS.length];
        this.channels.set(part, channel);
        this.synthesizer.programChange(channel, soundingProgram(part));
      }
    }
  }

  #bank(name) {
    if (!this.banks.has(name)) {
      const loaded = this.#load(name);
      loaded.catch(() => this.banks.delete(name)); // the next time may be luckier
      this.banks.set(name, loaded);
    }
    return this.banks.get(name);
  }

  async #load(name) {
    const response = await fetch(here(`./sounds/${name}.sf3`));
    if (!response.ok) throw new Error(`the sounds of the ${name} cannot be loaded`);
    const bytes = await response.arrayBuffer();
    await this.synthesizer.soundBankManager.addSoundBank(bytes, name);
  }

  channelOf(note) {
    return this.channels.get(partOf(note)) ?? 0;
  }

  noteOn(note, time) {
    const { pitch, velocity } = note;
    this.synthesizer.noteOn(this.channelOf(note), pitch, velocity, { time });
  }

  noteOff(note, time) {
    this.synthesizer.noteOff(this.channelOf(note), note.pitch, { time });
  }

  // Lets notes ring on whose keys are released, or no longer.
  setPedal(isDown, time) {
    for (const [part, channel] of this.channels)
      if (part !== "drums")
        this.synthesizer.controllerChange(channel, PEDAL, isDown ? 127 : 0, { time });
  }

  setAudible(part, audible) {
    const channel = this.channels.get(part);
    if (channel !== undefined)
      this.synthesizer.controllerChange(channel, VOLUME, audible ? 100 : 0);
  }

  silence(time) {
    for (const channel of new Set([0, ...this.channels.values()]))
      this.synthesizer.controllerChange(channel, ALL_SOUND_OFF, 0, { time });
  }
}
