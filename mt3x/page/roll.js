// The piano roll, drawn on one canvas: what is seen, and nothing else.
import { drumName, partColor, partOf, pitchName } from "./instruments.js";
import { clock } from "./notes.js";
import { BOTTOM_PITCH, TILE_S, TOP_PITCH } from "./spectrogram.js";
import { DRUM_ROW_PX, KEYS_PX, PEDAL_PX, RULER_PX, Viewport } from "./viewport.js";

const MOST_TILES = 24;
const BLACK = new Set([1, 3, 6, 8, 10]);

export class Roll extends Viewport {
  selected = new Set(); // ids
  dragged = null; // notes as they would be if the pointer let go now
  hidden = new Set(); // ids of the notes that are dragged
  box = null; // selection in the making: {x0, y0, x1, y1}
  spectrogram = null;
  playing = false;
  colorBy = "instrument";
  showSpectrogram = true;
  isAudible = () => true;

  constructor(canvas) {
    super();
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

  resize(width, height, ratio) {
    super.resize(width, height);
    this.ratio = ratio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
  }

  draw() {
    const { context, ratio, width, height, theme } = this;
    if (!width) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = theme.ground;
    context.fillRect(0, 0, width, height);
    context.save();
    context.beginPath();
    context.rect(KEYS_PX, RULER_PX, width, this.pitchHeight);
    context.clip();
    this.#drawRows();
    if (this.showSpectrogram && this.spectrogram) this.#drawSpectrogram();
    this.#drawTimeLines();
    for (const note of this.seen(this.candidates))
      if (!note.drum) this.#drawCandidate(note);
    const shown = [...this.seen(this.notes)].filter(({ id }) => !this.hidden.has(id));
    for (const note of shown) if (!note.drum) this.#drawNote(note);
    for (const note of this.dragged ?? []) this.#drawNote(note);
    context.restore();
    this.#drawDrums(shown);
    if (this.pedal) this.#drawPedal();
    this.#drawKeys(shown);
    this.#drawRuler();
    if (this.box) this.#drawBox();
    this.#drawPlayhead();
  }

  #drawRows() {
    const { context, theme, width } = this;
    const bottom = this.pitchOf(this.drumsTop);
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
    if (this.drumRows.length === 0) return;
    const { context, theme, width } = this;
    const top = this.drumsTop;
    context.fillStyle = theme.ground;
    context.fillRect(0, top, width, this.pedalTop - top);
    context.fillStyle = theme.line;
    context.fillRect(0, top, width, 1);
    this.drumRows.forEach((pitch, row) => {
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
    this.drumRows.forEach((pitch, row) => {
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

  #drawPedal() {
    const { context, theme, width, pedalTop: top } = this;
    context.fillStyle = theme.ground;
    context.fillRect(0, top, width, PEDAL_PX);
    context.fillStyle = theme.text;
    for (const { down, up } of this.pedal) {
      const x = Math.max(KEYS_PX, this.xOf(down));
      const end = Math.min(width, this.xOf(up));
      if (end > x) context.fillRect(x, top + 5, Math.max(1, end - x - 1), PEDAL_PX - 9);
    }
    context.fillStyle = theme.line;
    context.fillRect(0, top, width, 1);
    context.fillStyle = theme.text;
    context.font = `9px ${theme.font}`;
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.fillText("Pedal", KEYS_PX - 4, top + PEDAL_PX / 2 + 1, KEYS_PX - 8);
  }

  #drawKeys(shown) {
    const { context, theme, pxPerPitch } = this;
    context.save();
    context.beginPath();
    context.rect(0, RULER_PX, KEYS_PX, this.pitchHeight);
    context.clip();
    context.fillStyle = theme.white;
    context.fillRect(0, RULER_PX, KEYS_PX, this.pitchHeight);
    const sounding = new Map(
      shown.filter((note) => !note.drum && this.#isSounding(note)).map((note) => [note.pitch, note]),
    );
    const bottom = this.pitchOf(this.drumsTop);
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
    context.fillRect(KEYS_PX - 1, RULER_PX, 1, this.pitchHeight);
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
