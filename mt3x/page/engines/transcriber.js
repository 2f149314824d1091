// Samples in, rolls and notes out, as mt3x/inference/audio_to_rolls.py has it. Knows no
// browser: the network comes as a function.
import { LogCqt } from "./log_cqt.js";
import { leaveOutQuiet, loudness, mapRolls, Restorer, withNoise } from "./quiet.js";
import { candidateNotes, NUM_PITCHES, rollsToNotes } from "./roll_decoder.js";
import { cutWindows, Stitcher } from "./windows.js";

export const ROLLS = ["onset", "frame", "velocity"]; // those that are decoded

// A window with its loudest sample below this is silent.
const SILENCE = 1e-4;
// A recording that is no louder throughout, but louder than this, may still be music.
const LOWEST = 3e-6;

// Returns what a user may choose, as a model has it.
export function defaults({ decoding }) {
  const { onset_threshold: onset, frame_threshold: frame } = decoding;
  return { onset, frame, drum: null, minDuration: 0, lowest: 0, highest: 127 };
}

export class Transcriber {
  // config: {features, decoding, window}, the fields of `CQTConfig`,
  //   `RollDecodingConfig` and `WindowConfig`, and time_pool, frames that the network
  //   takes together.
  // noise: for what is silent (Int8Array).
  // predict: an async function from features (Float32Array TxF) and T to rolls, by name.
  constructor(config, noise, predict) {
    this.config = config;
    this.noise = noise;
    this.cqt = new LogCqt(config.features);
    this.predict = predict;
    const { sample_rate_hz, hop_samples } = config.features;
    this.sampleRateHz = sample_rate_hz;
    this.frameRateHz = sample_rate_hz / hop_samples;
  }

  // Yields the consecutive rolls of a recording (by name, Float32Array TxP). Calls
  // `warn` with a line if there is nothing to hear.
  async *rolls(samples, warn = () => {}) {
    const { features, window: windows } = this.config;
    const hop = features.hop_samples;
    const heard = leaveOutQuiet(samples, hop, this.sampleRateHz);
    const stitcher = new Stitcher(windows, NUM_PITCHES);
    const restorer = new Restorer(heard.cuts, NUM_PITCHES);
    let loudest = 0;
    for (const window of cutWindows(heard.samples, hop, windows)) {
      loudest = Math.max(loudest, loudness(window.samples));
      const rolls = await this.predicted(window, hop);
      yield* restorer.push(stitcher.push(window, rolls));
    }
    yield* restorer.finish();
    if (LOWEST < loudest && loudest < SILENCE)
      warn("the recording is silent: make it louder if there is music in it");
  }

  async predicted({ samples, numFrames }, hop) {
    if (loudness(samples) < SILENCE) {
      const silence = new Float32Array(numFrames * NUM_PITCHES);
      return Object.fromEntries(ROLLS.map((name) => [name, silence]));
    }
    const heard = withNoise(samples, hop, numFrames, this.noise);
    const features = this.cqt.features(heard);
    const { features: { num_bins: numBins }, time_pool: pool } = this.config;
    // Padding was heard by the features only, and fills the last group of frames where
    // the network pools them.
    const numGiven = Math.ceil(numFrames / pool) * pool;
    const rolls = await this.predict(features.subarray(0, numGiven * numBins), numGiven);
    return mapRolls(rolls, (roll) => roll.subarray(0, numFrames * NUM_PITCHES));
  }

  // Returns {notes, candidates} of rolls. choice: as `defaults`, or some of it.
  decode(rolls, choice) {
    const { onset, frame, minDuration, lowest, highest } = {
      ...defaults(this.config),
      ...choice,
    };
    const decoding = {
      ...this.config.decoding,
      onset_threshold: onset,
      frame_threshold: frame,
    };
    const isChosen = (note) =>
      note.offset - note.onset >= minDuration &&
      lowest <= note.pitch &&
      note.pitch <= highest;
    return {
      notes: rollsToNotes(rolls, decoding, this.frameRateHz).filter(isChosen),
      candidates: candidateNotes(rolls, decoding, this.frameRateHz).filter(isChosen),
    };
  }
}
