// Instruments: names, colours and the sounds that stand for them.

// General MIDI's programs by class of sound: [name, program that plays them, first and
// last program, ...]. The classes are those of mt3x/music/instrument_classes.py.
export const CLASSES = [
  ["Piano", 0, [0, 1], [3, 3], [6, 6]],
  ["Electric piano", 4, [2, 2], [4, 5], [7, 7]],
  ["Mallets", 11, [8, 15], [47, 47], [108, 108], [112, 119]],
  ["Organ", 16, [16, 20]],
  ["Accordion and harmonica", 21, [21, 23]],
  ["Acoustic guitar", 25, [24, 25], [104, 107]],
  ["Clean electric guitar", 27, [26, 28]],
  ["Distorted guitar", 30, [29, 31]],
  ["Bass", 33, [32, 39]],
  ["Violin and viola", 40, [40, 41], [110, 110]],
  ["Cello and double bass", 42, [42, 43]],
  ["Pizzicato and harp", 45, [45, 46]],
  ["String ensemble", 48, [44, 44], [48, 51], [55, 55]],
  ["Trumpet", 56, [56, 56], [59, 59], [61, 63]],
  ["Trombone and tuba", 57, [57, 58]],
  ["Horn", 60, [60, 60]],
  ["Saxophone", 65, [64, 67]],
  ["Oboe and English horn", 68, [68, 69], [109, 109], [111, 111]],
  ["Clarinet", 71, [71, 71]],
  ["Bassoon", 70, [70, 70]],
  ["Flutes", 73, [72, 79]],
  ["Voice", 53, [52, 54], [85, 85]],
  ["Synth lead", 80, [80, 84], [86, 87]],
  ["Synth pad", 89, [88, 103], [120, 127]],
];
// Hues in degrees (OKLCH), neighbours of an ensemble far apart.
const HUES = [
  285, 310, 110, 335, 350, 55, 190, 10, 250, 25, 0, 120, 235, 75, 45, 40, 95, 180, 135,
  165, 215, 330, 270, 200,
];

const CLASS_OF_PROGRAM = new Uint8Array(128);
CLASSES.forEach(([, , ...ranges], index) => {
  for (const [first, last] of ranges) CLASS_OF_PROGRAM.fill(index, first, last + 1);
});

const DRUMS = {
  35: "Kick", 36: "Kick", 37: "Rim", 38: "Snare", 39: "Clap", 40: "Snare",
  41: "Low tom", 42: "Closed hat", 43: "Low tom", 44: "Pedal hat", 45: "Tom",
  46: "Open hat", 47: "Tom", 48: "High tom", 49: "Crash", 50: "High tom", 51: "Ride",
  52: "Crash", 53: "Ride bell", 54: "Tambourine", 55: "Splash", 56: "Cowbell",
  57: "Crash", 59: "Ride",
};

const PITCH_CLASSES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];

// What plays a note: one line of the mixer, one channel of the synthesizer.
export const partOf = (note) => (note.drum ? "drums" : String(note.program));

export const partName = (part) =>
  part === "drums" ? "Drums" : CLASSES[CLASS_OF_PROGRAM[Number(part)]][0];

// The program of the sound banks that sounds most like it.
export const soundingProgram = (program) => CLASSES[CLASS_OF_PROGRAM[program]][1];

// A color of CSS; drums have none of their own.
export function partColor(part, lightness, chroma, alpha = 1) {
  const hue = part === "drums" ? 0 : HUES[CLASS_OF_PROGRAM[Number(part)]];
  return `oklch(${lightness} ${part === "drums" ? 0 : chroma} ${hue} / ${alpha})`;
}

export const pitchName = (pitch) =>
  `${PITCH_CLASSES[pitch % 12]}${Math.floor(pitch / 12) - 1}`;

export const drumName = (pitch) => DRUMS[pitch] ?? `Drum ${pitch}`;

export const noteName = (note) =>
  note.drum ? drumName(note.pitch) : pitchName(note.pitch);
