// Notes as files: the bytes that `Notes.to_midi`, `to_csv` and `to_json` write.
import { byOnset, rounded } from "./roll_decoder.js";

const DRUM_CHANNEL = 9;
const MELODIC_CHANNELS = [...Array(16).keys()].filter((c) => c !== DRUM_CHANNEL);
const TEMPO_US = 500_000; // of a beat: 120 beats a minute
const TICKS_PER_BEAT = 960;
const TICKS_PER_SECOND = (TICKS_PER_BEAT * 1e6) / TEMPO_US;
const RELEASE_VELOCITY = 64;

// Writers by the endings of their files. programNames: General MIDI's, for MIDI.
export const WRITERS = {
  mid: { type: "audio/midi", write: toMidi },
  csv: { type: "text/csv", write: toCsv },
  json: { type: "application/json", write: toJson },
};

// Returns the columns of a table: names and texts; that of confidence only where one is
// known. How seconds and truth are written differs.
function rows(notes, seconds, truth, unknown) {
  const isKnown = notes.some(({ confidence }) => confidence != null);
  return [...notes].sort(byOnset).map((note) => ({
    onset_s: seconds(note.onset),
    offset_s: seconds(note.offset),
    pitch: note.pitch,
    velocity: note.velocity,
    program: note.program,
    is_drum: truth(note.drum),
    ...(isKnown && {
      confidence:
        note.confidence == null ? unknown : asPython(note.confidence, 4),
    }),
  }));
}

function toCsv(notes) {
  const found = rows(notes, (s) => s.toFixed(6), Number, "");
  const head = found.length
    ? Object.keys(found[0])
    : ["onset_s", "offset_s", "pitch", "velocity", "program", "is_drum"];
  const lines = [head, ...found.map(Object.values)].map((cells) => cells.join(","));
  return `${lines.join("\n")}\n`;
}

function toJson(notes) {
  const found = rows(notes, (s) => asPython(s, 6), Boolean, "null");
  const lines = found.map((row) => {
    const members = Object.entries(row).map(([name, text]) => `"${name}": ${text}`);
    return `{${members.join(", ")}}`;
  });
  return lines.length ? `{"notes": [\n${lines.join(",\n")}\n]}\n` : '{"notes": []}\n';
}

// Writes a number with so many decimals at most, whole and small ones as Python does.
function asPython(number, digits) {
  const value = Number(number.toFixed(digits));
  if (Number.isInteger(value)) return `${value}.0`;
  if (Math.abs(value) >= 1e-4) return String(value);
  return value.toExponential().replace(/e-(\d)$/, "e-0$1");
}

// Each program has a track, drums have channel 10.
function toMidi(notes, programNames) {
  const parts = new Map();
  for (const note of [...notes].sort(byOnset)) {
    const key = note.drum ? 128 + note.program : note.program;
    if (!parts.has(key)) parts.set(key, []);
    parts.get(key).push(note);
  }
  const keys = [...parts.keys()].sort((a, b) => a - b);
  const tracks = keys.map((key, index) => {
    const isDrum = key >= 128;
    const program = key % 128;
    return midiTrack(parts.get(key), {
      program,
      name: isDrum ? "Drums" : programNames[program],
      port: isDrum ? 0 : Math.floor(index / MELODIC_CHANNELS.length),
      channel: isDrum ? DRUM_CHANNEL : MELODIC_CHANNELS[index % MELODIC_CHANNELS.length],
    });
  });
  const tempo = [0, 0xff, 0x51, 3, ...bigEndian(TEMPO_US, 3)];
  const all = [[...tempo, ...END_OF_TRACK], ...tracks];
  const header = [1, all.length, TICKS_PER_BEAT].flatMap((n) => bigEndian(n, 2));
  return Uint8Array.from([
    ...chunk("MThd", header),
    ...all.flatMap((track) => chunk("MTrk", track)),
  ]);
}

const END_OF_TRACK = [0, 0xff, 0x2f, 0];

const letters = (text) => [...text].map((letter) => letter.charCodeAt(0) & 0xff);

const bigEndian = (value, size) =>
  Array.from({ length: size }, (_, i) => (value >>> (8 * (size - 1 - i))) & 0xff);

const chunk = (name, bytes) => [
  ...letters(name),
  ...bigEndian(bytes.length, 4),
  ...bytes,
];

// Of notes of one key, one ends where the next begins; of those that begin in one tick
// the longest stays. In a tick, note-offs come before note-ons.
function midiTrack(notes, { program, name, port, channel }) {
  const played = notes.map(({ onset, offset, pitch, velocity }) => {
    const on = rounded(onset * TICKS_PER_SECOND);
    const off = Math.max(rounded(offset * TICKS_PER_SECOND), on + 1);
    return { on, off, pitch, velocity };
  });
  played.sort((a, b) => a.pitch - b.pitch || a.on - b.on || a.off - b.off);
  played.forEach((note, n) => {
    const next = played[n + 1];
    if (next?.pitch === note.pitch) note.off = Math.min(note.off, next.on);
  });
  const kept = played.filter(({ on, off }) => off > on);
  const events = [
    ...kept.map(({ off, pitch }) => [off, 0x80, pitch, RELEASE_VELOCITY]),
    ...kept.map(({ on, pitch, velocity }) => [on, 0x90, pitch, velocity]),
  ].sort((a, b) => a[0] - b[0]); // stable, so note-offs stay first
  const bytes = [0, 0xff, 0x03, ...number(name.length), ...letters(name)];
  if (port) bytes.push(0, 0xff, 0x21, 1, port);
  bytes.push(0, 0xc0 | channel, program);
  let now = 0;
  let running = null;
  for (const [tick, kind, ...data] of events) {
    bytes.push(...number(tick - now));
    if (running !== kind) bytes.push(kind | channel);
    bytes.push(...data);
    now = tick;
    running = kind;
  }
  return [...bytes, ...END_OF_TRACK];
}

// Returns the bytes of a number of variable length.
function number(value) {
  const bytes = [value & 0x7f];
  for (let rest = value >>> 7; rest > 0; rest >>>= 7)
    bytes.unshift(0x80 | (rest & 0x7f));
  return bytes;
}
