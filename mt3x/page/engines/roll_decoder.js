// Rolls to notes, as mt3x/music/roll_decoder.py decodes them.
import { postprocess } from "./piano_postprocessing.js";

const LOWEST_PITCH = 21;
export const NUM_PITCHES = 88;

// Candidates are what is found with an onset threshold so many times that of notes.
const CANDIDATES = 0.4;

const clip = (value, low, high) => Math.min(Math.max(value, low), high);

// Rounds halves to even, as NumPy does.
export function rounded(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}

const ratio = (top, bottom) => (bottom > 0 ? top / bottom : 0);

// How many frames after its peak an onset lies, from the three values around it.
const SHIFTS = {
  none: () => 0,
  parabola: (before, peak, after) =>
    ratio(after - before, 2 * (2 * peak - before - after)),
  triangle: (before, peak, after) =>
    ratio(after - before, 2 * (peak - Math.min(before, after))),
};

function onsetShift(refinement, before, peak, after) {
  if (before < 0 || after < 0) return 0; // an end of the recording
  return clip(SHIFTS[refinement](before, peak, after), -0.5, 0.5);
}

// Rolls in, in blocks of any length; notes out, as they end.
export class RollDecoder {
  // config: the fields of `RollDecodingConfig`.
  constructor(config, frameRateHz) {
    this.config = config;
    this.frameRateHz = frameRateHz;
    // Rolls are compared in float32.
    this.onsetThreshold = Math.fround(config.onset_threshold);
    this.frameThreshold = Math.fround(config.frame_threshold);
    this.numDone = 0;
    this.wasPeak = new Uint8Array(NUM_PITCHES);
    this.wasOn = new Uint8Array(NUM_PITCHES);
    this.sounding = new Array(NUM_PITCHES).fill(null);
    this.before = NOTHING;
    this.here = null; // a row that waits for its right neighbour
    this.found = [];
  }

  // Takes the next frames, {onset, frame, velocity} of Float32Array TxP, and returns the
  // notes that ended in them.
  push(rolls) {
    for (let at = 0; at < rolls.onset.length; at += NUM_PITCHES) {
      const row = {
        onset: rolls.onset.subarray(at, at + NUM_PITCHES),
        frame: rolls.frame.subarray(at, at + NUM_PITCHES),
        velocity: rolls.velocity.subarray(at, at + NUM_PITCHES),
      };
      this.take(row);
    }
    return this.taken();
  }

  // Ends the recording and returns the notes still sounding.
  finish() {
    this.take(NOTHING);
    this.sounding.forEach((note, key) => {
      if (note) this.add(key, note, this.numDone);
    });
    this.sounding.fill(null);
    return this.taken();
  }

  taken() {
    const { found } = this;
    this.found = [];
    return found;
  }

  take(after) {
    if (this.here) {
      for (let key = 0; key < NUM_PITCHES; key += 1) this.decode(key, after);
      this.before = this.here;
      this.numDone += 1;
    }
    this.here = after;
  }

  decode(key, { onset: after }) {
    const { before, here, config } = this;
    const peakValue = here.onset[key];
    const isPeak =
      peakValue > this.onsetThreshold &&
      peakValue >= before.onset[key] &&
      peakValue >= after[key];
    const isOn = isPeak || here.frame[key] > this.frameThreshold;
    const sounding = this.sounding[key];
    if (isPeak && !this.wasPeak[key]) {
      const around = [before.onset[key], peakValue, after[key]];
      const time = this.numDone + onsetShift(config.onset_refinement, ...around);
      if (sounding) this.add(key, sounding, time);
      this.sounding[key] = {
        time,
        confidence: peakValue,
        velocity: clip(rounded(128 * here.velocity[key]), 1, 127),
      };
    } else if (sounding && this.wasOn[key] && !isOn) {
      const shift = this.crossing(before.frame[key], here.frame[key]);
      this.add(key, sounding, this.numDone + shift);
      this.sounding[key] = null;
    }
    this.wasPeak[key] = isPeak;
    this.wasOn[key] = isOn;
  }

  // Returns the sub-frame shift of an offset, -0.5 to 0.5.
  crossing(above, below) {
    const height = above - this.frameThreshold;
    // A frame that was on as an onset only may itself lie below the threshold.
    if (!this.config.refine_offsets || height <= 0) return 0;
    return ratio(height, above - below) - 0.5;
  }

  add(key, { time, velocity, confidence }, end) {
    const latency = this.config.latency_s * this.frameRateHz;
    const onset = Math.max(time - latency, 0);
    // Two onsets are a frame apart even when both were moved: no notes overlap.
    const offset = Math.max(end - latency, onset + 1);
    this.found.push({
      onset: onset / this.frameRateHz,
      offset: offset / this.frameRateHz,
      pitch: key + LOWEST_PITCH,
      velocity,
      program: 0,
      drum: false,
      confidence,
    });
  }
}

// A missing neighbour is below everything.
const NOTHING = {
  onset: new Float32Array(NUM_PITCHES).fill(-1),
  frame: new Float32Array(NUM_PITCHES).fill(-1),
  velocity: new Float32Array(NUM_PITCHES),
};

export const byOnset = (a, b) =>
  a.onset - b.onset || a.program - b.program || a.pitch - b.pitch;

// Returns the notes of a whole recording. blocks: its consecutive rolls.
export function rollsToNotes(blocks, config, frameRateHz) {
  const notes = decoded(blocks, config, frameRateHz);
  return config.postprocessing ? postprocess(notes, config.postprocessing) : notes;
}

// Returns what would be notes, too, if the onset threshold were lower.
export function candidateNotes(blocks, config, frameRateHz) {
  const sure = Math.fround(config.onset_threshold);
  const lower = { ...config, onset_threshold: config.onset_threshold * CANDIDATES };
  const notes = decoded(blocks, lower, frameRateHz);
  return notes.filter(({ confidence }) => confidence <= sure);
}

function decoded(blocks, config, frameRateHz) {
  const decoder = new RollDecoder(config, frameRateHz);
  const notes = blocks.flatMap((rolls) => decoder.push(rolls));
  return [...notes, ...decoder.finish()].sort(byOnset);
}
