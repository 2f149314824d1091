// Notes while they are recorded: those of the last seconds, on a small roll.
import { html, useEffect, useRef } from "./vendor/preact.js";

const SECONDS = 8;
const LOWEST = 21;
const NUM_PITCHES = 88;

// Holds what the engine tells of a microphone while it is recorded.
export class LiveNotes {
  // The engine's `listen`, where it has one.
  static listen = null;

  works = Boolean(LiveNotes.listen);
  notes = [];
  sounding = [];
  numEnded = 0;

  // Takes the next samples, a Float32Array; none while the recorder pauses.
  push(samples, rateHz) {
    if (!this.works) return;
    this.microphone ??= LiveNotes.listen(rateHz, (event) => this.#take(event));
    this.microphone.push(samples);
  }

  close() {
    this.works = false;
    this.microphone?.close();
  }

  #take(event) {
    // Without live notes the recording goes on all the same.
    if (event.type === "error") this.close();
    if (event.type !== "notes") return;
    this.numEnded += event.notes.length;
    this.sounding = event.sounding;
    const oldest = event.seconds - 2 * SECONDS;
    this.notes = [...this.notes, ...event.notes].filter(({ offset }) => offset > oldest);
  }
}

export function LiveRoll({ live, seconds }) {
  const canvas = useRef();
  useEffect(() => draw(canvas.current, live, seconds), [seconds]);
  const count = live.numEnded + live.sounding.length;
  return html`<canvas
    ref=${canvas}
    class="live"
    width="704"
    height="176"
    role="img"
    aria-label="${count} notes heard"
  ></canvas>`;
}

function draw(canvas, { notes, sounding }, seconds) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  const scale = width / SECONDS;
  const row = height / NUM_PITCHES;
  context.clearRect(0, 0, width, height);
  const held = sounding.map((note) => ({ ...note, offset: seconds }));
  for (const { onset, offset, pitch, velocity } of [...notes, ...held]) {
    context.globalAlpha = 0.4 + (0.6 * velocity) / 127;
    context.fillStyle = style.color;
    const x = width + (onset - seconds) * scale;
    const length = Math.max(3, (offset - onset) * scale - 1);
    context.fillRect(x, (LOWEST + NUM_PITCHES - 1 - pitch) * row, length, 2 * row);
  }
}
