// Tiles of a recording's spectrogram, made by a worker when they are first looked at.
import { MODEL_RATE_HZ } from "./audio.js";

const HOP = 400; // samples
const COLUMNS = 320;
const HALF_WINDOW = 2048;
const NUM_ROWS = 176;
const MOST_TILES = 48;

export const TILE_S = (HOP * COLUMNS) / MODEL_RATE_HZ;
export const TOP_PITCH = 108.5; // rows end half a semitone from A0 and C8
export const BOTTOM_PITCH = 20.5;

export class Spectrogram {
  #tiles = new Map(); // index -> levels, or null while the worker has it
  #pictures = new Map(); // index -> canvas
  #color = "";

  constructor(samples, onTile) {
    this.samples = samples;
    this.peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 1e-4);
    this.worker = new Worker(new URL("./spectrogram_worker.js", import.meta.url), {
      type: "module",
    });
    this.worker.onmessage = ({ data: { id, levels } }) => {
      this.#tiles.set(id, levels);
      onTile();
    };
  }

  // The picture of tile `index` in an [r, g, b] color, or null while it is not ready.
  picture(index, color) {
    if (String(color) !== this.#color) {
      this.#color = String(color);
      this.#pictures.clear();
    }
    if (!this.#pictures.has(index)) {
      const levels = this.#levels(index);
      if (!levels) return null;
      this.#pictures.set(index, painted(levels, color));
      forgetOldest(this.#pictures);
    }
    return this.#pictures.get(index);
  }

  #levels(index) {
    if (!this.#tiles.has(index)) {
      this.#tiles.set(index, null);
      forgetOldest(this.#tiles);
      const first = index * COLUMNS * HOP - HALF_WINDOW;
      const samples = new Float32Array((COLUMNS - 1) * HOP + 2 * HALF_WINDOW);
      const known = this.samples.subarray(Math.max(0, first), first + samples.length);
      samples.set(known, Math.max(0, -first));
      this.worker.postMessage(
        {
          id: index,
          samples,
          hop: HOP,
          columns: COLUMNS,
          rateHz: MODEL_RATE_HZ,
          peak: this.peak,
        },
        [samples.buffer],
      );
    }
    return this.#tiles.get(index);
  }

  close() {
    this.worker.terminate();
  }
}

function forgetOldest(map) {
  if (map.size > MOST_TILES) map.delete(map.keys().next().value);
}

function painted(levels, [red, green, blue]) {
  const canvas = new OffscreenCanvas(COLUMNS, NUM_ROWS);
  const context = canvas.getContext("2d");
  const image = context.createImageData(COLUMNS, NUM_ROWS);
  levels.forEach((level, i) => image.data.set([red, green, blue, level], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}
