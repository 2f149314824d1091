// Which part of the music the piano roll shows, and where on the canvas things lie.
import { firstFrom, longest } from "./notes.js";

export const RULER_PX = 26;
export const KEYS_PX = 46;
export const DRUM_ROW_PX = 18;
export const PEDAL_PX = 16;
const EDGE_PX = 7; // how near a note's end it is taken by its end
const LOWEST = 21;
const HIGHEST = 108;

export class Viewport {
  notes = [];
  candidates = [];
  pedal = null; // when it is down: [{down, up}, ...]; it has a row at the bottom
  duration = 0;
  position = 0;
  width = 0;
  height = 0;

  // The view: seconds at the left, pixels per second, upper edge, pixels per semitone.
  start = 0;
  pxPerS = 100;
  top = HIGHEST + 1;
  pxPerPitch = 10;
  #longest = 0;
  drumRows = []; // keys of the drum kit in use, highest first

  setNotes(notes, candidates) {
    this.notes = notes;
    this.candidates = candidates;
    this.#longest = Math.max(longest(notes), longest(candidates));
    const drums = new Set(notes.filter(({ drum }) => drum).map(({ pitch }) => pitch));
    this.drumRows = [...drums].sort((a, b) => b - a);
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
    this.#clamp();
  }

  // Shows the octaves in use, and as much time as reads well.
  fit() {
    const pitches = this.notes.filter(({ drum }) => !drum).map(({ pitch }) => pitch);
    const low = pitches.reduce((a, b) => Math.min(a, b), 57) - 4;
    const high = pitches.reduce((a, b) => Math.max(a, b), 68) + 5;
    this.pxPerPitch = this.pitchHeight / Math.max(high - low, 20);
    this.top = high;
    const seconds = Math.min(Math.max(this.duration * 1.02, 4), this.#timeWidth / 45);
    this.pxPerS = this.#timeWidth / seconds;
    this.start = 0;
    this.#clamp();
  }

  get #timeWidth() {
    return this.width - KEYS_PX;
  }

  get pedalTop() {
    return this.height - (this.pedal ? PEDAL_PX : 0);
  }

  get drumsTop() {
    return this.pedalTop - this.drumRows.length * DRUM_ROW_PX;
  }

  get pitchHeight() {
    return this.drumsTop - RULER_PX;
  }

  get visibleSeconds() {
    return this.#timeWidth / this.pxPerS;
  }

  #clamp() {
    const least = this.#timeWidth / Math.max(this.duration * 1.05, 4);
    this.pxPerS = Math.max(Math.min(least, 100), Math.min(this.pxPerS, 3000));
    const last = Math.max(0, this.duration * 1.02 - this.visibleSeconds);
    this.start = Math.max(0, Math.min(this.start, last));
    const whole = HIGHEST + 1 - LOWEST;
    const shown = this.pitchHeight / this.pxPerPitch;
    if (!(shown < whole)) this.pxPerPitch = this.pitchHeight / whole;
    this.pxPerPitch = Math.min(this.pxPerPitch, 40);
    const rows = this.pitchHeight / this.pxPerPitch;
    this.top = Math.max(LOWEST + rows, Math.min(this.top, HIGHEST + 1));
  }

  xOf = (time) => KEYS_PX + (time - this.start) * this.pxPerS;
  yOf = (pitch) => RULER_PX + (this.top - pitch - 1) * this.pxPerPitch;
  timeOf = (x) => this.start + (x - KEYS_PX) / this.pxPerS;
  pitchOf = (y) => Math.floor(this.top - (y - RULER_PX) / this.pxPerPitch);

  zoneOf(x, y) {
    if (y < RULER_PX) return "ruler";
    if (y >= this.pedalTop) return "pedal";
    if (y >= this.drumsTop) return "drums";
    return x < KEYS_PX ? "keys" : "notes";
  }

  zoomTime(factor, x = KEYS_PX + this.#timeWidth / 2) {
    const time = this.timeOf(x);
    this.pxPerS *= factor;
    this.#clamp();
    this.start = time - (x - KEYS_PX) / this.pxPerS;
    this.#clamp();
  }

  zoomPitch(factor, y = RULER_PX + this.pitchHeight / 2) {
    const place = this.top - (y - RULER_PX) / this.pxPerPitch;
    this.pxPerPitch *= factor;
    this.#clamp();
    this.top = place + (y - RULER_PX) / this.pxPerPitch;
    this.#clamp();
  }

  pan(dx, dy) {
    this.start -= dx / this.pxPerS;
    this.top += dy / this.pxPerPitch;
    this.#clamp();
  }

  reveal(note) {
    const { start, visibleSeconds } = this;
    if (note.onset < start || note.onset > start + visibleSeconds * 0.9)
      this.start = note.onset - visibleSeconds / 4;
    if (!note.drum) {
      const rows = this.pitchHeight / this.pxPerPitch;
      if (note.pitch + 1 > this.top) this.top = note.pitch + 3;
      if (note.pitch < this.top - rows) this.top = note.pitch + rows - 2;
    }
    this.#clamp();
  }

  // Keeps the playhead in sight: it stays at a third, or the page turns.
  follow(smooth) {
    const before = this.start;
    if (smooth) this.start = this.position - this.visibleSeconds / 3;
    else if (
      this.position < this.start ||
      this.position > this.start + this.visibleSeconds
    )
      this.start = this.position;
    this.#clamp();
    return this.start !== before;
  }

  rectOf(note) {
    const x = this.xOf(note.onset);
    const width = Math.max(3, (note.offset - note.onset) * this.pxPerS);
    if (!note.drum)
      return { x, y: this.yOf(note.pitch), width, height: this.pxPerPitch };
    const row = this.drumRows.indexOf(note.pitch);
    const y = this.drumsTop + row * DRUM_ROW_PX;
    return { x: x - 1, y, width: 8, height: DRUM_ROW_PX };
  }

  *seen(notes) {
    const from = this.timeOf(0) - this.#longest;
    const to = this.timeOf(this.width);
    for (let i = firstFrom(notes, from); i < notes.length; i += 1) {
      const note = notes[i];
      if (note.onset > to) return;
      if (note.drum || note.offset >= this.start) yield note;
    }
  }

  // What lies under the pointer: {note, isCandidate, atEnd}, or null.
  find(x, y) {
    for (const [notes, isCandidate] of [
      [this.notes, false],
      [this.candidates, true],
    ]) {
      let best = null;
      for (const note of this.seen(notes)) {
        const rect = this.rectOf(note);
        const isUnder =
          x >= rect.x - 3 && x <= rect.x + rect.width + 3 &&
          y >= rect.y && y < rect.y + rect.height;
        if (!isUnder) continue;
        const atEnd =
          !note.drum &&
          x > rect.x + Math.max(rect.width - EDGE_PX, rect.width * 0.6);
        best = { note, isCandidate, atEnd };
      }
      if (best) return best;
    }
    return null;
  }

  inBox({ x0, y0, x1, y1 }) {
    const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)];
    const [upper, lower] = [Math.min(y0, y1), Math.max(y0, y1)];
    return [...this.seen(this.notes)].filter((note) => {
      const { x, y, width, height } = this.rectOf(note);
      return x < right && x + width > left && y < lower && y + height > upper;
    });
  }
}
