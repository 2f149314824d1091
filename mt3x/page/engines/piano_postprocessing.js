// What a whole recording of one piano tells of its notes, as
// mt3x/music/piano_postprocessing.py has it and explains: chords and ends are aligned,
// and the loudness of keys is evened out.
import { byOnset, rounded } from "./roll_decoder.js";

const REACH_S = 0.3;
const SHORTEST_S = 0.02;
const STEP_S = 0.25;

const gaussian = (x) => Math.exp(-0.5 * x * x);

// Returns the same notes at other times and with other velocities, sorted by onset.
// config: the fields of `PianoPostprocessing`.
export function postprocess(notes, config) {
  if (notes.length === 0) return notes;
  const aligned = config.align ? align(notes, config).sort(byOnset) : notes;
  return config.even_keys ? evenKeys(aligned, config) : aligned;
}

// Moves onsets and ends towards those that they belong to.
function align(notes, config) {
  const sorted = [...notes].sort((a, b) => a.pitch - b.pitch || a.onset - b.onset);
  const heard = sorted.map(({ onset }) => onset);
  const again = (n) => sorted[n + 1]?.pitch === sorted[n].pitch;

  const spreads = sorted.map(
    ({ velocity }) => config.soft_onset_s * Math.exp((40 - velocity) / config.louder),
  );
  const onsets = together(sorted, heard, spreads, config.onsets_by_chance_hz).map(
    (moved, n) => (Math.abs(moved - heard[n]) < config.least_move_s ? heard[n] : moved),
  );
  // No further than a third of the way to another onset of the key.
  const room = heard.map((onset, n) =>
    again(n) ? (heard[n + 1] - onset) / 3 : Infinity,
  );
  for (let n = 1; n < onsets.length; n += 1)
    onsets[n] = Math.max(onsets[n], heard[n] - room[n - 1]);
  for (let n = 0; n < onsets.length - 1; n += 1)
    onsets[n] = Math.min(onsets[n], heard[n] + room[n]);

  const lengths = sorted.map(({ onset, offset }) => offset - onset);
  const ends = together(
    sorted,
    heard.map((onset, n) => onset + lengths[n]),
    lengths.map((length) => Math.max(config.end_of_length * length, config.least_end_s)),
    config.ends_by_chance_hz,
  );
  const starts = Float64Array.from(onsets).sort();
  return sorted.map((note, n) => {
    let offset = ends[n];
    const rest = (starts[firstFrom(starts, offset)] ?? Infinity) - offset;
    if (rest < config.legato_s) offset += rest / 2;
    offset = Math.max(offset, onsets[n] + SHORTEST_S);
    if (again(n)) offset = Math.min(offset, onsets[n + 1]);
    return { ...note, onset: onsets[n], offset };
  });
}

// Returns where in a sorted array values of at least `value` begin.
function firstFrom(values, value) {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Returns the times, each drawn to its neighbours by the odds that they are other
// hearings of its own.
function together(notes, times, spreads, byChanceHz) {
  const order = times.map((_, n) => n).sort((a, b) => times[a] - times[b] || a - b);
  const weights = spreads.map((spread) => 1 / spread ** 2);
  const totalWeights = [...weights];
  const totals = times.map((time, n) => weights[n] * time);
  for (let early = 0; early < order.length; early += 1) {
    const a = order[early];
    for (let late = early + 1; late < order.length; late += 1) {
      const b = order[late];
      const apart = times[b] - times[a];
      if (apart >= REACH_S) break;
      if (notes[a].pitch === notes[b].pitch) continue;
      const variance = spreads[a] ** 2 + spreads[b] ** 2;
      const density =
        Math.exp((-0.5 * apart ** 2) / variance) / Math.sqrt(2 * Math.PI * variance);
      const odds = density / (density + byChanceHz);
      totalWeights[a] += odds * weights[b];
      totals[a] += odds * weights[b] * times[b];
      totalWeights[b] += odds * weights[a];
      totals[b] += odds * weights[a] * times[a];
    }
  }
  return totals.map((total, n) => total / totalWeights[n]);
}

// Takes off what each key is louder than those around it, and some of the rest.
function evenKeys(notes, config) {
  const pitches = [...new Set(notes.map(({ pitch }) => pitch))].sort((a, b) => a - b);
  const numKeys = pitches.length;
  const keys = notes.map(({ pitch }) => pitches.indexOf(pitch));
  const first = notes[0].onset;
  const steps = notes.map(({ onset }) => Math.floor((onset - first) / STEP_S));
  const numSteps = steps.at(-1) + 1;

  // Counts and sums of velocities on a grid, smoothed over time.
  const counts = new Float64Array(numSteps * numKeys);
  const sums = new Float64Array(numSteps * numKeys);
  notes.forEach(({ velocity }, n) => {
    counts[steps[n] * numKeys + keys[n]] += 1;
    sums[steps[n] * numKeys + keys[n]] += velocity;
  });
  const nearCounts = smoothed(counts, numKeys, config.near_s);
  const nearSums = smoothed(sums, numKeys, config.near_s);

  // Of each note: what its velocity depends on by key, and how far it is from those
  // around.
  const rests = new Float64Array(notes.length);
  const design = new Float64Array(notes.length * numKeys);
  notes.forEach(({ pitch, velocity }, n) => {
    const row = design.subarray(n * numKeys, (n + 1) * numKeys);
    let weight = 0;
    let sum = 0;
    for (let key = 0; key < numKeys; key += 1) {
      const near = gaussian((pitch - pitches[key]) / config.near_semitones);
      row[key] = near * nearCounts[steps[n] * numKeys + key];
      weight += row[key];
      sum += near * nearSums[steps[n] * numKeys + key];
    }
    for (let key = 0; key < numKeys; key += 1) row[key] /= -weight;
    row[keys[n]] += 1;
    rests[n] = velocity - sum / weight;
  });
  const own = ridge(design, rests, numKeys, config.prior_notes);
  return notes.map((note, n) => {
    let rest = rests[n];
    for (let key = 0; key < numKeys; key += 1)
      rest -= design[n * numKeys + key] * own[key];
    const even = note.velocity - own[keys[n]] - config.noise * rest;
    return { ...note, velocity: Math.min(Math.max(rounded(even), 1), 127) };
  });
}

// Weights a grid by a Gaussian over time, zero outside.
function smoothed(grid, width, nearS) {
  const reach = Math.trunc((3 * nearS) / STEP_S);
  const result = new Float64Array(grid.length);
  for (let step = -reach; step <= reach; step += 1) {
    const tap = gaussian((step * STEP_S) / nearS);
    const from = Math.max(0, -step * width);
    const to = Math.min(grid.length, grid.length - step * width);
    for (let i = from; i < to; i += 1) result[i] += tap * grid[i + step * width];
  }
  return result;
}

// Returns u of the ridge regression X u = y, by Cholesky's decomposition.
function ridge(design, values, width, prior) {
  const matrix = Array.from({ length: width }, () => new Float64Array(width));
  const right = new Float64Array(width);
  for (let n = 0; n < values.length; n += 1) {
    const row = design.subarray(n * width, (n + 1) * width);
    for (let i = 0; i < width; i += 1) {
      right[i] += row[i] * values[n];
      for (let j = 0; j <= i; j += 1) matrix[i][j] += row[i] * row[j];
    }
  }
  for (let i = 0; i < width; i += 1) matrix[i][i] += prior;
  const dot = (a, b, length) => {
    let sum = 0;
    for (let k = 0; k < length; k += 1) sum += a[k] * b[k];
    return sum;
  };
  for (let i = 0; i < width; i += 1) {
    for (let j = 0; j < i; j += 1)
      matrix[i][j] = (matrix[i][j] - dot(matrix[i], matrix[j], j)) / matrix[j][j];
    matrix[i][i] = Math.sqrt(matrix[i][i] - dot(matrix[i], matrix[i], i));
  }
  for (let i = 0; i < width; i += 1)
    right[i] = (right[i] - dot(matrix[i], right, i)) / matrix[i][i];
  for (let i = width - 1; i >= 0; i -= 1) {
    for (let j = i + 1; j < width; j += 1) right[i] -= matrix[j][i] * right[j];
    right[i] /= matrix[i][i];
  }
  return right;
}
