// Stretches without music, as mt3x/inference/quiet.py treats them: long quiet ones are
// left out before windows are cut, and a noise that nobody would hear fills digital
// silence.

// The constants are those of the Python module, which says why.
const BLOCK_FRAMES = 16;
const SPREAD_DB = 4;
const QUIET_DB = 40;
const LEAST_BLOCKS = 16;
const SIDE_BLOCKS = 4;
const MOST_BLOCKS = 128;
const LOWEST_LEVEL = 1e-6;
const FULL_SCALE_DB = 0;
const NOISE_DB = -65;
const NOISE_STEP = 0.04;
const START_S = 0.001;
const BEGIN_S = 0.06;
const RISE_DB = 20;
const LEAD_FRAMES = 3;

// Leaves quiet stretches out. Returns the samples that are kept, and `cuts`: pairs of
// a frame of what is kept and how many frames are missing there; less than 0: how many
// are to be dropped.
export function leaveOutQuiet(samples, hop, rateHz) {
  const kept = [];
  const cuts = [];
  let numKept = 0;
  const keep = (block) => {
    kept.push(block);
    numKept += block.length;
  };
  const cutHere = () => {
    cuts.push([Math.floor(numKept / hop), 0]);
    return cuts.at(-1);
  };
  const release = (stretch, loudest, cut, numAfter = SIDE_BLOCKS) => {
    let { blocks } = stretch;
    if (cut || (blocks.length >= LEAST_BLOCKS && stretch.isBelow(loudest))) {
      if (!cut) {
        blocks.slice(0, SIDE_BLOCKS).forEach(keep);
        cut = cutHere();
        blocks = blocks.slice(SIDE_BLOCKS);
      }
      const last = blocks.length - numAfter;
      const left = blocks.slice(0, last).reduce((sum, { length }) => sum + length, 0);
      cut[1] += Math.ceil(left / hop);
      blocks = blocks.slice(last);
    }
    blocks.forEach(keep);
  };

  let stretch = new Stretch();
  let loudest = -Infinity;
  let cut = null;
  const blocks = withLead(evenBlocks(samples, BLOCK_FRAMES * hop), hop, rateHz, cuts);
  const levels = blocks.map(levelDb);
  blocks.forEach((block, index) => {
    const level = levels[index];
    if (!stretch.isLike(level)) {
      release(stretch, Math.max(loudest, level, levels[index + 1] ?? levelDb([])), cut);
      stretch = new Stretch();
      cut = null;
    }
    stretch.push(block, level);
    loudest = Math.max(loudest, level);
    // What is loud cannot turn out to be quiet: it goes on at once.
    const maybeQuiet = stretch.isBelow(Math.max(loudest, FULL_SCALE_DB));
    const most = maybeQuiet ? MOST_BLOCKS : 1;
    if (stretch.blocks.length <= most) return;
    if (!cut && most > 1 && stretch.isBelow(loudest)) {
      stretch.blocks.splice(0, SIDE_BLOCKS).forEach(keep);
      cut = cutHere();
    } else if (!cut) keep(stretch.blocks.shift());
    else cut[1] += Math.floor(stretch.blocks.shift().length / hop);
  });
  release(stretch, loudest, cut, 0);
  // An hour takes a quarter of a gigabyte: no copy where there is no need.
  return { samples: cuts.length ? joined(kept) : samples, cuts };
}

// Puts rows of zeros where quiet stretches were left out.
export class Restorer {
  // width: of a row.
  constructor(cuts, width) {
    this.cuts = [...cuts];
    this.width = width;
    this.begin = 0;
  }

  // Takes the next rows of what was kept (by name, Float32Array TxP) and returns a list
  // of the recording's next rows.
  push(rolls) {
    const restored = [];
    const rows = (from, to) => {
      if (to > from)
        restored.push(mapRolls(rolls, (roll) => roll.slice(...this.places(from, to))));
    };
    const numRows = Object.values(rolls)[0].length / this.width;
    let from = 0;
    while (this.cuts.length && this.cuts[0][0] < this.begin + numRows) {
      const [at, missing] = this.cuts.shift();
      rows(from, at - this.begin);
      restored.push(...this.zeros(rolls, missing));
      from = at - this.begin + Math.max(-missing, 0);
    }
    rows(from, numRows);
    this.begin += numRows;
    this.last = rolls;
    return restored;
  }

  // Returns the rows that are left at the end.
  finish() {
    return this.cuts.flatMap(([, missing]) => this.zeros(this.last, missing));
  }

  places(...frames) {
    return frames.map((frame) => frame * this.width);
  }

  zeros(like, missing) {
    if (missing <= 0) return [];
    return [mapRolls(like, () => new Float32Array(missing * this.width))];
  }
}

// Returns an object with the same names and each of its arrays changed.
export const mapRolls = (rolls, change) =>
  Object.fromEntries(Object.entries(rolls).map(([name, roll]) => [name, change(roll)]));

// Returns a window's samples with noise in the frames that are quieter than that. After
// the first `numFrames`, where it is padded with its mirror image, the noise is, too.
// noise: Python's, an Int8Array of so many steps of NOISE_STEP.
export function withNoise(samples, hop, numFrames, noise) {
  const level = loudness(samples) * 10 ** (NOISE_DB / 20);
  const filled = samples.slice();
  const last = numFrames * hop - 1;
  for (let begin = 0; begin < samples.length; begin += hop) {
    let power = 0;
    for (let i = begin; i < begin + hop; i += 1) power += samples[i] ** 2;
    if (Math.sqrt(power / hop) >= level) continue;
    for (let i = begin; i < begin + hop; i += 1) {
      const at = last - Math.abs((i % (2 * last)) - last);
      filled[i] += level * NOISE_STEP * noise[at];
    }
  }
  return filled;
}

// Returns how far samples get from zero.
export function loudness(samples) {
  let loudest = 0;
  for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
  return loudest;
}

// Blocks of about the same loudness.
class Stretch {
  blocks = [];
  lowest = Infinity;
  highest = -Infinity;

  isLike(level) {
    const spread = Math.max(this.highest, level) - Math.min(this.lowest, level);
    return spread <= SPREAD_DB;
  }

  isBelow(level) {
    return this.highest < level - QUIET_DB;
  }

  push(block, level) {
    this.blocks.push(block);
    this.lowest = Math.min(this.lowest, level);
    this.highest = Math.max(this.highest, level);
  }
}

// Puts silence before the first block if a note begins with it.
function withLead(blocks, hop, rateHz, cuts) {
  const first = blocks[0];
  const start = levelDb(first.subarray(0, Math.ceil(START_S * rateHz)));
  const begin = levelDb(first.subarray(0, Math.ceil(BEGIN_S * rateHz)));
  if (start >= begin - RISE_DB) return blocks;
  cuts.push([0, -LEAD_FRAMES]);
  const lead = new Float32Array(LEAD_FRAMES * hop);
  return [joined([lead, first]), ...blocks.slice(1)];
}

// Returns the loudness of samples, or of none.
function levelDb(samples) {
  let power = 0;
  for (const sample of samples) power += sample * sample;
  const level = samples.length ? Math.sqrt(power / samples.length) : 0;
  return 20 * Math.log10(Math.max(level, LOWEST_LEVEL));
}

function evenBlocks(samples, size) {
  const blocks = [];
  for (let at = 0; at < samples.length; at += size)
    blocks.push(samples.subarray(at, at + size));
  return blocks;
}

function joined(arrays) {
  const whole = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    whole.set(array, at);
    at += array.length;
  }
  return whole;
}
