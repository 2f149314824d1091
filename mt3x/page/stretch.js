// Slower or faster at the same pitch: WSOLA (Verhelst and Roelands, 1993). Each window
// is taken from where, near its place, it continues the sound before it best.

const HOP = 1024; // samples between windows of twice this length
const REACH = 512; // how far a window may be moved
const STEP = 4; // samples skipped where windows are compared

const FADE_IN = Float32Array.from(
  { length: HOP },
  (_, i) => 0.5 - 0.5 * Math.cos((Math.PI * (i + 0.5)) / HOP),
);

export class Stretcher {
  // Begins at `fromS` seconds of an AudioBuffer.
  constructor(buffer, fromS, speed) {
    this.buffer = buffer;
    this.channels = Array.from({ length: buffer.numberOfChannels }, (_, channel) =>
      buffer.getChannelData(channel),
    );
    this.place = fromS * buffer.sampleRate;
    this.advance = HOP * speed;
    this.chosen = Math.round(this.place) - HOP; // where the window before was taken
  }

  get ended() {
    return this.place >= this.buffer.length;
  }

  // Returns the next `numHops` hops as an AudioBuffer.
  next(numHops) {
    const output = new AudioBuffer({
      length: numHops * HOP,
      numberOfChannels: this.channels.length,
      sampleRate: this.buffer.sampleRate,
    });
    for (let hop = 0; hop < numHops; hop += 1) {
      const continued = this.chosen + HOP;
      const taken = this.#best(Math.round(this.place), continued);
      this.channels.forEach((input, channel) => {
        const target = output.getChannelData(channel).subarray(hop * HOP);
        for (let i = 0; i < HOP; i += 1) {
          const before = input[continued + i] ?? 0;
          target[i] = before + FADE_IN[i] * ((input[taken + i] ?? 0) - before);
        }
      });
      this.chosen = taken;
      this.place += this.advance;
    }
    return output;
  }

  #best(place, continued) {
    const input = this.channels[0];
    if (continued < 0 || Math.max(place + REACH, continued) + HOP > input.length)
      return place;
    let best = place;
    let most = -Infinity;
    for (
      let start = Math.max(0, place - REACH);
      start <= place + REACH;
      start += STEP
    ) {
      let likeness = 0;
      for (let i = 0; i < HOP; i += STEP)
        likeness += input[start + i] * input[continued + i];
      if (likeness > most) [best, most] = [start, likeness];
    }
    return best;
  }
}

export const hopSeconds = (buffer) => HOP / buffer.sampleRate;
