// The piano roll: where things lie on the canvas, and how they are drawn.
import { drumName, partColor, partOf, pitchName } from "./instruments.js";
import { clock, firstFrom, longest } from "./notes.js";
import { BOTTOM_PITCH, TILE_S, TOP_PITCH } from "./spectrogram.js";

export const RULER_PX = 26;
const KEYS_PX = 46;
const DRUM_ROW_PX = 18;
const EDGE_PX = 7; // how near a note's end it is taken by its end
const MOST_TILES = 24;
const LOWEST = 21;
const HIGHEST = 108;
const BLACK = new Set([1, 3, 6, 8, 10]);

export class Roll {
  notes = [];
  candidates = [];
  selected = new Set(); // ids
  dragged = null; // notes as they would be if the pointer let go now
  hidden = new Set(); // ids of the notes that are dragged
  box = null; // selection in the making: {x0, y0, x1, y1}
  spectrogram = null;
  duration = 0;
  position = 0;
  playing = false;
  colorBy = "instrument";
  showSpectrogram = true;
  isAudible = () => true;

  // The view: seconds at the left, pixels per second, upper edge, pixels per semitone.
  start = 0;
  pxPerS = 100;
  top = HIGHEST + 1;
  pxPerPitch = 10;
  #longest = 0;
  #drumRows = [];

  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.readTheme();
  }

  readTheme() {
    const style = getComputedStyle(this.canvas);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    this.theme = {
      ground: color("roll-ground"),
      dark: color("roll-dark-row"),
      line: color("roll-line"),
      beat: color("roll-grid"),
      text: color("text-soft"),
      strong: color("text"),
      white: color("key-white"),
      black: color("key-black"),
      keyText: color("key-text"),
      playhead: color("accent"),
      spectrum: color("roll-spectrum").split(" ").map(Number),
      lightness: Number(color("note-lightness")),
      chroma: Number(color("note-chroma")),
      font: style.fontFamily,
    };
  }

  setNotes(notes, candidates) {
    this.notes = notes;
    this.candidates = candidates;
    this.#longest = Math.max(longest(notes), longest(candidates));
    const drums = new Set(notes.filter(({ drum }) => drum).map(({ pitch }) => pitch));
    this.#drumRows = [...drums].sort((a, b) => b - a);
  }

  resize(width, height, ratio) {
    this.width = width;
    this.height = height;
    this.ratio = ratio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.#clamp();
  }

  // Shows the octaves in use, and as much time as reads well.
  fit() {
    const pitches = this.notes.filter(({ drum }) => !drum).map(({ pitch }) => pitch);
    const low = pitches.reduce((a, b) => Math.min(a, b), 57) - 4;
    const high = pitches.reduce((a, b) => Math.max(a, b), 68) + 5;
    this.pxPerPitch = this.#pitchHeight / Math.max(high - low, 20);
    this.top = high;
    const seconds = Math.min(Math.max(this.duration * 1.02, 4), this.#timeWidth / 45);
    this.pxPerS = this.#timeWidth / seconds;
    this.start = 0;
    this.#clamp();
  }

  get #timeWidth() {
    return this.width - KEYS_PX;
  }

  get #drumsTop() {
    return this.height - this.#drumRows.length * DRUM_ROW_PX;
  }

  get #pitchHeight() {
    return this.#drumsTop - RULER_PX;
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
    const shown = this.#pitchHeight / this.pxPerPitch;
    if (!(shown < whole)) this.pxPerPitch = this.#pitchHeight / whole;
    this.pxPerPitch = Math.min(this.pxPerPitch, 40);
    const rows = this.#pitchHeight / this.pxPerPitch;
    this.top = Math.max(LOWEST + rows, Math.min(this.top, HIGHEST + 1));
  }

  xOf = (time) => KEYS_PX + (time - this.start) * this.pxPerS;
  yOf = (pitch) => RULER_PX + (this.top - pitch - 1) * this.pxPerPitch;
  timeOf = (x) => this.start + (x - KEYS_PX) / this.pxPerS;
  pitchOf = (y) => Math.floor(this.top - (y - RULER_PX) / this.pxPerPitch);

  zoneOf(x, y) {
    if (y < RULER_PX) return "ruler";
    if (y >= this.#drumsTop) return "drums";
    return x < KEYS_PX ? "keys" : "notes";
  }

  zoomTime(factor, x = KEYS_PX + this.#timeWidth / 2) {
    const time = this.timeOf(x);
    this.pxPerS *= factor;
    this.#clamp();
    this.start = time - (x - KEYS_PX) / this.pxPerS;
    this.#clamp();
  }

  zoomPitch(factor, y = RULER_PX + this.#pitchHeight / 2) {
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
      const rows = this.#pitchHeight / this.pxPerPitch;
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
    const row = this.#drumRows.indexOf(note.pitch);
    const y = this.#drumsTop + row * DRUM_ROW_PX;
    return { x: x - 1, y, width: 8, height: DRUM_ROW_PX };
  }

  *#seen(notes) {
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
      for (const note of this.#seen(notes)) {
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
    return [...this.#seen(this.notes)].filter((note) => {
      const { x, y, width, height } = this.rectOf(note);
      return x < right && x + width > left && y < lower && y + height > upper;
    });
  }

  draw() {
    const { context, ratio, width, height, theme } = this;
    if (!width) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = theme.ground;
    context.fillRect(0, 0, width, height);
    context.save();
    context.beginPath();
    context.rect(KEYS_PX, RULER_PX, width, this.#pitchHeight);
    context.clip();
    this.#drawRows();
    if (this.showSpectrogram && this.spectrogram) this.#drawSpectrogram();
    this.#drawTimeLines();
    for (const note of this.#seen(this.candidates))
      if (!note.drum) this.#drawCandidate(note);
    const shown = [...this.#seen(this.notes)].filter(({ id }) => !this.hidden.has(id));
    for (const note of shown) if (!note.drum) this.#drawNote(note);
    for (const note of this.dragged ?? []) this.#drawNote(note);
    context.restore();
    this.#drawDrums(shown);
    this.#drawKeys(shown);
    this.#drawRuler();
    if (this.box) this.#drawBox();
    this.#drawPlayhead();
  }

  #drawRows() {
    const { context, theme, width } = this;
    const bottom = this.pitchOf(this.#drumsTop);
    for (let pitch = bottom; pitch <= this.top; pitch += 1) {
      const y = this.yOf(pitch);
      if (BLACK.has(pitch % 12)) {
        context.fillStyle = theme.dark;
        context.fillRect(KEYS_PX, y, width, this.pxPerPitch);
      }
      if (pitch % 12 === 0 || pitch % 12 === 5) {
        context.fillStyle = pitch % 12 ? theme.beat : theme.line;
        context.fillRect(KEYS_PX, Math.round(y + this.pxPerPitch), width, 1);
      }
    }
  }

  #drawSpectrogram() {
    const first = Math.floor(this.start / TILE_S);
    const last = Math.floor(
      Math.min(this.start + this.visibleSeconds, this.duration) / TILE_S,
    );
    if (last - first > MOST_TILES) return;
    const y = RULER_PX + (this.top - (TOP_PITCH + 0.5)) * this.pxPerPitch;
    const height = (TOP_PITCH - BOTTOM_PITCH) * this.pxPerPitch;
    for (let index = first; index <= last; index += 1) {
      const picture = this.spectrogram.picture(index, this.theme.spectrum);
      if (!picture) continue;
      const x = this.xOf(index * TILE_S);
      this.context.drawImage(picture, x, y, TILE_S * this.pxPerS + 0.5, height);
    }
  }

  // Seconds between the labelled lines, so that labels stand some 90 pixels apart.
  get #step() {
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
    return steps.find((step) => step * this.pxPerS >= 90) ?? 1200;
  }

  *#lines(step) {
    for (let i = Math.ceil(this.start / step); ; i += 1) {
      const x = this.xOf(i * step);
      if (x > this.width) return;
      yield [i * step, Math.round(x)];
    }
  }

  #drawTimeLines() {
    this.context.fillStyle = this.theme.beat;
    for (const [, x] of this.#lines(this.#step))
      this.context.fillRect(x, RULER_PX, 1, this.height);
  }

  colorOf(note, alpha = 1) {
    const { lightness, chroma } = this.theme;
    const loudness = note.velocity / 127;
    if (this.colorBy === "velocity") {
      const hue = 260 - 230 * loudness;
      return `oklch(${lightness} ${chroma} ${hue} / ${alpha})`;
    }
    // Louder notes are stronger in color, too.
    const strength = chroma * (0.6 + 0.5 * loudness);
    return partColor(partOf(note), lightness, strength, alpha);
  }

  #alphaOf(note) {
    const sure = note.confidence ?? 1;
    return (0.35 + 0.65 * sure) * (this.isAudible(partOf(note)) ? 1 : 0.25);
  }

  #isSounding(note) {
    const { position } = this;
    return this.playing && note.onset <= position && position < note.offset;
  }

  #drawNote(note) {
    const { context, theme } = this;
    const { x, y, width, height } = this.rectOf(note);
    const inset = height > 8 ? 1 : 0.5;
    const radius = Math.min(4, height / 3, width / 2);
    context.beginPath();
    context.roundRect(x, y + inset, width, height - 2 * inset, radius);
    context.fillStyle = this.colorOf(note, this.#alphaOf(note));
    context.fill();
    if (this.selected.has(note.id) || !note.id || this.#isSounding(note)) {
      context.strokeStyle = theme.strong;
      context.lineWidth = this.selected.has(note.id) ? 2 : 1.25;
      context.stroke();
    }
    if (height >= 14 && width >= 30) {
      context.fillStyle = theme.ground;
      context.font = `600 ${Math.min(11, height - 4)}px ${theme.font}`;
      context.textBaseline = "middle";
      context.textAlign = "left";
      context.fillText(pitchName(note.pitch), x + 5, y + height / 2 + 0.5);
    }
  }

  #drawCandidate(note) {
    const { context } = this;
    const { x, y, width, height } = this.rectOf(note);
    context.beginPath();
    context.roundRect(x + 0.5, y + 1.5, width - 1, height - 3, Math.min(4, height / 3));
    context.strokeStyle = this.colorOf(note, 0.75);
    context.lineWidth = 1.25;
    context.setLineDash([4, 3]);
    context.stroke();
    context.setLineDash([]);
  }

  #drawDrums(shown) {
    if (this.#drumRows.length === 0) return;
    const { context, theme, width } = this;
    const top = this.#drumsTop;
    context.fillStyle = theme.ground;
    context.fillRect(0, top, width, this.height - top);
    context.fillStyle = theme.line;
    context.fillRect(0, top, width, 1);
    this.#drumRows.forEach((pitch, row) => {
      if (row % 2 === 0) {
        context.fillStyle = theme.dark;
        context.fillRect(KEYS_PX, top + row * DRUM_ROW_PX + 1, width, DRUM_ROW_PX - 1);
      }
    });
    for (const note of shown) {
      if (!note.drum) continue;
      const { x, y, height } = this.rectOf(note);
      if (x < KEYS_PX - 4) continue;
      const size = 3 + 3 * (note.velocity / 127);
      const [middleX, middleY] = [x + 4, y + height / 2];
      context.beginPath();
      context.moveTo(middleX, middleY - size);
      context.lineTo(middleX + size, middleY);
      context.lineTo(middleX, middleY + size);
      context.lineTo(middleX - size, middleY);
      context.closePath();
      context.fillStyle = this.colorOf(note, this.#alphaOf(note));
      context.fill();
      if (this.selected.has(note.id)) {
        context.strokeStyle = theme.strong;
        context.lineWidth = 1.5;
        context.stroke();
      }
    }
    this.#drumRows.forEach((pitch, row) => {
      const y = top + row * DRUM_ROW_PX;
      context.fillStyle = theme.ground;
      context.fillRect(0, y + 1, KEYS_PX, DRUM_ROW_PX - 1);
      context.fillStyle = theme.text;
      context.font = `9px ${theme.font}`;
      context.textBaseline = "middle";
      context.textAlign = "right";
      const width = KEYS_PX - 8;
      context.fillText(drumName(pitch), KEYS_PX - 4, y + DRUM_ROW_PX / 2, width);
    });
  }

  #drawKeys(shown) {
    const { context, theme, pxPerPitch } = this;
    context.save();
    context.beginPath();
    context.rect(0, RULER_PX, KEYS_PX, this.#pitchHeight);
    context.clip();
    context.fillStyle = theme.white;
    context.fillRect(0, RULER_PX, KEYS_PX, this.#pitchHeight);
    const sounding = new Map(
      shown.filter((note) => !note.drum && this.#isSounding(note)).map((note) => [note.pitch, note]),
    );
    const bottom = this.pitchOf(this.#drumsTop);
    for (let pitch = bottom; pitch <= this.top; pitch += 1) {
      const y = this.yOf(pitch);
      const isBlack = BLACK.has(pitch % 12);
      const note = sounding.get(pitch);
      if (note || isBlack) {
        context.fillStyle = note ? this.colorOf(note) : theme.black;
        context.fillRect(0, y, isBlack ? KEYS_PX * 0.62 : KEYS_PX, pxPerPitch);
      }
      if (isBlack) {
        context.fillStyle = theme.line;
        context.fillRect(KEYS_PX * 0.62, y + pxPerPitch / 2, KEYS_PX, 1);
      } else if (pitch % 12 === 0 || pitch % 12 === 5) {
        context.fillStyle = theme.line;
        context.fillRect(0, y + pxPerPitch, KEYS_PX, 1);
      }
      if (pitch % 12 === 0 && pxPerPitch > 3) {
        context.fillStyle = theme.keyText;
        context.font = `${Math.max(8, Math.min(11, pxPerPitch))}px ${theme.font}`;
        context.textBaseline = "middle";
        context.textAlign = "right";
        context.fillText(pitchName(pitch), KEYS_PX - 4, y + pxPerPitch / 2);
      }
    }
    context.fillStyle = theme.line;
    context.fillRect(KEYS_PX - 1, RULER_PX, 1, this.#pitchHeight);
    context.restore();
  }

  #drawRuler() {
    const { context, theme, width } = this;
    context.fillStyle = theme.ground;
    context.fillRect(0, 0, width, RULER_PX);
    context.fillStyle = theme.line;
    context.fillRect(0, RULER_PX - 1, width, 1);
    context.fillStyle = theme.text;
    context.font = `11px ${theme.font}`;
    context.textBaseline = "middle";
    context.textAlign = "left";
    const step = this.#step;
    for (const [time, x] of this.#lines(step)) {
      const label = step < 1 ? `${clock(time)}${(time % 1).toFixed(1).slice(1)}` : clock(time);
      context.fillText(label, x + 4, RULER_PX / 2);
      context.fillRect(x, RULER_PX - 7, 1, 6);
    }
  }

  #drawBox() {
    const { context, theme } = this;
    const { x0, y0, x1, y1 } = this.box;
    context.strokeStyle = theme.playhead;
    context.lineWidth = 1;
    context.setLineDash([3, 3]);
    context.strokeRect(x0 + 0.5, y0 + 0.5, x1 - x0, y1 - y0);
    context.setLineDash([]);
  }

  #drawPlayhead() {
    const { context, theme, height } = this;
    const x = Math.round(this.xOf(this.position));
    if (x < KEYS_PX) return;
    context.fillStyle = theme.playhead;
    context.fillRect(x - 1, 0, 2, height);
    context.beginPath();
    context.moveTo(x - 6, 0);
    context.lineTo(x + 6, 0);
    context.lineTo(x, 9);
    context.closePath();
    context.fill();
  }
}
