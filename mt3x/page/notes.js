// Notes as the page keeps them: frozen objects {id, onset, offset, pitch, velocity,
// program, drum, confidence}, times in seconds; lists of them sorted by onset.
import { partOf } from "./instruments.js";

// Two notes of a part and pitch this close are the same note, decoded anew.
const SAME_S = 0.05;
export const SHORTEST_S = 0.02;

const byOnset = (a, b) => a.onset - b.onset || a.pitch - b.pitch;

// A name that stays the note's own when the same rolls are decoded again.
const decodedId = (note) =>
  `${partOf(note)}/${note.pitch}/${Math.round(note.onset * 1000)}`;

export const received = (notes) =>
  notes.map((note) => Object.freeze({ ...note, id: decodedId(note) })).sort(byOnset);

// Index of the first note with an onset of at least `time`.
export function firstFrom(notes, time) {
  let low = 0;
  let high = notes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (notes[middle].onset < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

export const longest = (notes) =>
  notes.reduce((most, { onset, offset }) => Math.max(most, offset - onset), 0);

// Corrections: the notes taken away and those put in their place. They lie on top of
// what is decoded, so that they survive new thresholds.
export const NO_EDITS = Object.freeze({ removed: [], added: [] });

let numAdded = 0;

// Returns `edits` with `replaced` (notes) gone and `put` (notes without id) added.
export function withChange(edits, replaced, put) {
  const gone = new Set(replaced.map(({ id }) => id));
  const own = new Set(edits.added.map(({ id }) => id));
  return Object.freeze({
    removed: [...edits.removed, ...replaced.filter(({ id }) => !own.has(id))],
    added: [
      ...edits.added.filter(({ id }) => !gone.has(id)),
      ...put.map((note) => Object.freeze({ ...note, id: `added/${(numAdded += 1)}` })),
    ],
  });
}

// Returns decoded notes with the corrections applied.
export function corrected(decoded, { removed, added }) {
  return [...without(decoded, [...removed, ...added]), ...added].sort(byOnset);
}

// Returns `notes` except those at which one of `others` stands.
export function without(notes, others) {
  if (others.length === 0) return notes;
  const onsets = new Map();
  for (const other of others) {
    const key = `${partOf(other)}/${other.pitch}`;
    onsets.set(key, [...(onsets.get(key) ?? []), other.onset]);
  }
  return notes.filter(
    (note) =>
      !onsets
        .get(`${partOf(note)}/${note.pitch}`)
        ?.some((onset) => Math.abs(onset - note.onset) < SAME_S),
  );
}

// What the engines and files know of a note.
export const bare = ({ onset, offset, pitch, velocity, program, drum, confidence }) => ({
  onset,
  offset,
  pitch,
  velocity,
  program,
  drum,
  confidence: confidence ?? null,
});

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
