// Keeps a score in step with the playback: colors the notes that sound, keeps their
// system in sight, and finds the note under a click.
import { firstFrom } from "./notes.js";

const MARGIN_PX = 12;
const NEAR_PX = 48; // from a note, a click is meant for it
const calm = matchMedia("(prefers-reduced-motion: reduce)");

export class ScoreFollower {
  isFollowing = true;
  isShown = false;
  #score = null; // {notes, longest, pages}
  #sounding = new Set(); // ids
  #time = -1;
  #system = null; // the element that was brought into sight last

  constructor(box, player) {
    this.box = box;
    this.player = player;
  }

  setScore(score) {
    if (this.#score !== score) this.#sounding.clear();
    this.#score = score;
    this.refresh();
  }

  // The pictures have changed.
  refresh() {
    this.#time = -1;
    this.#system = null;
  }

  update() {
    const { position } = this.player;
    if (!this.#score || !this.isShown || position === this.#time) return;
    this.#time = position;
    const sounding = new Set(this.#soundingAt(position));
    for (const id of this.#sounding)
      if (!sounding.has(id)) elementOf(id)?.classList.remove("sounding");
    for (const id of sounding) elementOf(id)?.classList.add("sounding");
    this.#sounding = sounding;
    if (this.isFollowing) this.#reveal(position);
  }

  *#soundingAt(time) {
    const { notes, longest } = this.#score;
    for (let i = firstFrom(notes, time - longest); i < notes.length; i += 1) {
      if (notes[i].onset > time) return;
      if (notes[i].offset > time) yield notes[i].id;
    }
  }

  // Scrolls when the music has come to another system.
  #reveal(time) {
    const { notes } = this.#score;
    const note = notes[Math.max(0, firstFrom(notes, time + 1e-6) - 1)];
    if (!note) return;
    const page = this.box.querySelector(`[data-page="${note.page}"]`);
    const system = elementOf(note.id)?.closest(".system") ?? page;
    if (!system || system === this.#system) return;
    this.#system = system;
    const [seen, whole] = [this.box, system].map((each) => each.getBoundingClientRect());
    if (whole.top >= seen.top && whole.bottom <= seen.bottom) return;
    this.box.scrollTo({
      top: this.box.scrollTop + whole.top - seen.top - MARGIN_PX,
      behavior: calm.matches ? "auto" : "smooth",
    });
  }

  // Plays on from the note that is nearest to a click.
  click({ target, clientX, clientY }) {
    const page = target.closest("[data-page]")?.dataset.page;
    let [best, least] = [null, NEAR_PX];
    for (const note of this.#score?.notes ?? []) {
      if (String(note.page) !== page) continue;
      const head = elementOf(note.id)?.querySelector(".notehead");
      if (!head) continue;
      const { left, right, top, bottom } = head.getBoundingClientRect();
      const distance = Math.hypot((left + right) / 2 - clientX, (top + bottom) / 2 - clientY);
      if (distance < least) [best, least] = [note, distance];
    }
    if (best) this.player.seek(best.onset);
  }

  // Goes to the next note or the one before it; returns whether the key is one of ours.
  press({ key, altKey, ctrlKey, metaKey }) {
    const notes = this.#score?.notes;
    if (!notes?.length || altKey || ctrlKey || metaKey) return false;
    const { position } = this.player;
    const wanted = {
      ArrowRight: () => notes[firstFrom(notes, position + 0.02)],
      ArrowLeft: () => notes[firstFrom(notes, position - 0.02) - 1],
      Home: () => notes[0],
      End: () => notes.at(-1),
    }[key];
    if (!wanted) return false;
    const note = wanted();
    if (note) this.player.seek(note.onset);
    return true;
  }
}

const elementOf = (id) => document.getElementById(id);
