// The whole recording in a strip: where its notes are, and which part the roll shows.

const LOWEST = 21;
const NUM_PITCHES = 88;

export class Overview {
  constructor(canvas, roll, seek) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.roll = roll;
    this.seek = seek;
  }

  resize(width, height, ratio) {
    Object.assign(this, { width, height, ratio });
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.drawnFor = null;
  }

  listen() {
    const { canvas } = this;
    const seek = ({ offsetX }) =>
      this.seek((offsetX / this.width) * this.roll.duration);
    const down = (event) => {
      canvas.setPointerCapture(event.pointerId);
      seek(event);
    };
    const move = (event) => event.buttons && seek(event);
    canvas.addEventListener("pointerdown", down);
    canvas.addEventListener("pointermove", move);
    return () => {
      canvas.removeEventListener("pointerdown", down);
      canvas.removeEventListener("pointermove", move);
    };
  }

  draw() {
    const { context, roll, width, height, ratio } = this;
    const { theme, duration } = roll;
    if (!width || !duration) return;
    const scale = width / duration;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = theme.ground;
    context.fillRect(0, 0, width, height);
    context.drawImage(this.#picture(scale), 0, 0, width, height);
    context.fillStyle = theme.strong;
    context.globalAlpha = 0.1;
    const x = roll.start * scale;
    context.fillRect(x, 0, roll.visibleSeconds * scale, height);
    context.globalAlpha = 1;
    context.fillStyle = theme.playhead;
    context.fillRect(roll.position * scale - 1, 0, 2, height);
  }

  // The notes change seldom, the window all the time.
  #picture(scale) {
    const { roll, height } = this;
    const key = [roll.notes, roll.theme, roll.colorBy, scale];
    if (this.drawnFor?.every((value, i) => value === key[i])) return this.picture;
    this.drawnFor = key;
    this.picture = new OffscreenCanvas(this.canvas.width, this.canvas.height);
    const context = this.picture.getContext("2d");
    context.scale(this.ratio, this.ratio);
    for (const note of roll.notes) {
      const row = note.drum ? 0 : (note.pitch - LOWEST) / NUM_PITCHES;
      context.fillStyle = roll.colorOf(note, 0.8);
      const length = Math.max(1, (note.offset - note.onset) * scale);
      context.fillRect(note.onset * scale, (1 - row) * (height - 4) + 1, length, 1.5);
    }
    return this.picture;
  }
}
