// Mouse, pen and fingers on the piano roll.
import { SHORTEST_S } from "./notes.js";

const CLICK_PX = 4; // a pointer that moves less has clicked
const NEW_NOTE_S = 0.2;

// `actions` are what a gesture ends in: seek, select, take, edit, preview, moved (the
// view), and `isEditing` and `program`, which are asked.
export class RollPointer {
  #pointers = new Map(); // id -> {x, y}
  #gesture = null; // {move(x, y), end()}
  #pinch = null;

  constructor(roll, actions) {
    this.roll = roll;
    this.actions = actions;
  }

  listen(canvas) {
    const handlers = {
      pointerdown: (event) => this.#down(event),
      pointermove: (event) => this.#move(event),
      pointerup: (event) => this.#up(event),
      pointercancel: (event) => this.#up(event),
      wheel: (event) => this.#wheel(event),
    };
    for (const [type, handler] of Object.entries(handlers))
      canvas.addEventListener(type, handler, { passive: false });
    return () => {
      for (const [type, handler] of Object.entries(handlers))
        canvas.removeEventListener(type, handler);
    };
  }

  #place({ clientX, clientY }) {
    const box = this.roll.canvas.getBoundingClientRect();
    return { x: clientX - box.left, y: clientY - box.top };
  }

  #down(event) {
    if (event.button > 1) return;
    this.roll.canvas.setPointerCapture(event.pointerId);
    const place = this.#place(event);
    this.#pointers.set(event.pointerId, place);
    if (this.#pointers.size === 2) this.#startPinch();
    else if (this.#pointers.size === 1) this.#gesture = this.#begin(place, event);
  }

  #begin({ x, y }, event) {
    const { roll, actions } = this;
    const zone = roll.zoneOf(x, y);
    if (zone === "ruler") return this.#scrub(x);
    if (event.button === 1) return this.#pan(x, y);
    const isShown = zone === "notes" || zone === "drums";
    const found = isShown && roll.find(x, y);
    if (found) {
      if (found.isCandidate) return this.#click(x, y, () => actions.take(found.note));
      if (event.shiftKey || event.ctrlKey || event.metaKey)
        return this.#click(x, y, () => actions.toggle(found.note));
      if (actions.isEditing()) return this.#drag(found, x, y);
      return this.#click(x, y, () => {
        actions.select([found.note]);
        actions.preview(found.note);
      });
    }
    if (zone === "keys") {
      const key = { pitch: roll.pitchOf(y), velocity: 80, drum: false };
      actions.preview({ ...key, program: actions.program() });
      return null;
    }
    if (event.shiftKey) return this.#select(x, y);
    if (actions.isEditing() && zone === "notes") return this.#add(x, y);
    return this.#click(x, y, () => {
      actions.select([]);
      actions.seek(roll.timeOf(x));
    });
  }

  // Pans, unless the pointer comes up where it went down.
  #click(x0, y0, clicked) {
    const pan = this.#pan(x0, y0);
    return { move: pan.move, end: () => !pan.moved() && clicked() };
  }

  #pan(x0, y0) {
    let [x, y] = [x0, y0];
    let moved = false;
    return {
      moved: () => moved,
      move: (newX, newY) => {
        moved ||= Math.hypot(newX - x0, newY - y0) > CLICK_PX;
        if (!moved) return;
        this.roll.pan(newX - x, newY - y);
        [x, y] = [newX, newY];
        this.actions.moved();
      },
      end: () => {},
    };
  }

  #scrub(x) {
    const { roll, actions } = this;
    actions.seek(roll.timeOf(x));
    return { move: (to) => actions.seek(roll.timeOf(to)), end: () => {} };
  }

  #select(x0, y0) {
    const { roll, actions } = this;
    return {
      move: (x1, y1) => {
        roll.box = { x0, y0, x1, y1 };
        actions.redraw();
      },
      end: () => {
        if (roll.box) actions.select(roll.inBox(roll.box));
        roll.box = null;
        actions.redraw();
      },
    };
  }

  // Moves or stretches what is selected, or the note under the pointer.
  #drag({ note, atEnd }, x0, y0) {
    const { roll, actions } = this;
    if (!roll.selected.has(note.id)) actions.select([note]);
    const notes = roll.notes.filter(({ id }) => roll.selected.has(id));
    if (!atEnd) actions.preview(note);
    return {
      move: (x, y) => {
        if (!roll.dragged && Math.hypot(x - x0, y - y0) < CLICK_PX) return;
        const seconds = (x - x0) / roll.pxPerS;
        const semitones = atEnd ? 0 : Math.round((y0 - y) / roll.pxPerPitch);
        roll.hidden = new Set(notes.map(({ id }) => id));
        roll.dragged = notes.map((each) =>
          atEnd ? stretched(each, seconds) : moved(each, seconds, semitones),
        );
        actions.redraw();
      },
      end: () => this.#finish(notes),
    };
  }

  #add(x0, y0) {
    const { roll, actions } = this;
    const onset = Math.max(0, roll.timeOf(x0));
    const key = { pitch: roll.pitchOf(y0), velocity: 80, drum: false };
    const note = { ...key, program: actions.program(), onset, confidence: null };
    roll.dragged = [{ ...note, offset: onset + NEW_NOTE_S }];
    actions.preview(note);
    actions.redraw();
    return {
      move: (x) => {
        const end = Math.max(onset + SHORTEST_S, roll.timeOf(x));
        const isClick = x - x0 < CLICK_PX;
        roll.dragged = [{ ...note, offset: isClick ? onset + NEW_NOTE_S : end }];
        actions.redraw();
      },
      end: () => this.#finish([]),
    };
  }

  #finish(replaced) {
    const { roll, actions } = this;
    const put = roll.dragged;
    roll.dragged = null;
    roll.hidden = new Set();
    if (put) actions.edit(replaced, put);
    actions.redraw();
  }

  #startPinch() {
    // What one finger began, two do not finish.
    this.roll.dragged = null;
    this.roll.box = null;
    this.roll.hidden = new Set();
    this.#gesture = null;
    this.#pinch = this.#spread();
  }

  #spread() {
    const [a, b] = [...this.#pointers.values()];
    const distance = Math.max(20, Math.hypot(a.x - b.x, a.y - b.y));
    return { distance, x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  }

  #move(event) {
    const place = this.#place(event);
    if (!this.#pointers.has(event.pointerId)) {
      this.#point(place);
      return;
    }
    this.#pointers.set(event.pointerId, place);
    if (this.#pinch) {
      const now = this.#spread();
      this.roll.pan(now.x - this.#pinch.x, now.y - this.#pinch.y);
      this.roll.zoomTime(now.distance / this.#pinch.distance, now.x);
      this.#pinch = now;
      this.actions.moved();
    } else this.#gesture?.move(place.x, place.y);
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    if (this.#pinch) {
      if (this.#pointers.size < 2) this.#pinch = null;
      return;
    }
    this.#gesture?.end();
    this.#gesture = null;
  }

  // The pointer's shape says what a press would do.
  #point({ x, y }) {
    const { roll, actions } = this;
    const zone = roll.zoneOf(x, y);
    let cursor = { ruler: "ew-resize", keys: "pointer" }[zone] ?? "";
    const found = cursor ? null : roll.find(x, y);
    if (found?.isCandidate || (found && !actions.isEditing())) cursor = "pointer";
    else if (found) cursor = found.atEnd ? "ew-resize" : "move";
    else if (!cursor && actions.isEditing()) cursor = "crosshair";
    roll.canvas.style.cursor = cursor;
  }

  #wheel(event) {
    event.preventDefault();
    const { roll } = this;
    const { x, y } = this.#place(event);
    const unit = event.deltaMode === 1 ? 16 : 1;
    const [dx, dy] = [event.deltaX * unit, event.deltaY * unit];
    if (event.altKey) roll.zoomPitch(Math.exp(-dy / 300), y);
    else if (event.shiftKey || Math.abs(dx) > Math.abs(dy)) roll.pan(-(dx || dy), 0);
    // Browsers report a pinch on a touchpad as a wheel with the control key.
    else roll.zoomTime(Math.exp(-dy / (event.ctrlKey ? 60 : 300)), x);
    this.actions.moved();
  }
}

export function moved(note, seconds, semitones) {
  const onset = Math.max(0, note.onset + seconds);
  const pitch = Math.max(0, Math.min(127, note.pitch + (note.drum ? 0 : semitones)));
  const offset = note.offset + onset - note.onset;
  return { ...note, onset, offset, pitch, confidence: null };
}

export function stretched(note, seconds) {
  const offset = Math.max(note.onset + SHORTEST_S, note.offset + seconds);
  return { ...note, offset, confidence: null };
}
