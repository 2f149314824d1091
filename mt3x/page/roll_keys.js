// The keyboard on the piano roll.
import { firstFrom } from "./notes.js";
import { moved, stretched } from "./roll_pointer.js";

export const HELP = [
  ["Space", "play or pause"],
  ["← →", "seek by a second (Shift: five); move the selected notes by 10 ms"],
  ["↑ ↓", "look higher or lower; move the selected notes by a semitone (Shift: an octave)"],
  ["Shift ← →", "make the selected notes shorter or longer"],
  ["Alt ↑ ↓", "make the selected notes louder or softer"],
  ["N, P", "select the next or the previous note"],
  ["C, Enter", "go to the next candidate, take it"],
  ["A", "add a note at the playhead"],
  ["Delete", "delete the selected notes"],
  ["Ctrl Z, Ctrl Shift Z", "undo, redo"],
  ["Ctrl A, Escape", "select all or nothing"],
  ["E", "turn editing with the pointer on or off"],
  ["+, −", "zoom"],
  ["Home, End", "go to the beginning or the end"],
];

const STEP_S = 0.01;

// Does what a key asks for; returns whether it asked for anything. `context` holds the
// roll, the recording, the player, the chosen notes and the roll's actions.
export function pressKey(event, context) {
  const { roll, recording, player, chosen, actions } = context;
  const change = (how) => {
    if (chosen.length) actions.edit(chosen, chosen.map(how));
    return chosen.length > 0;
  };
  const offered = recording.candidates.filter(({ id }) => roll.selected.has(id));
  const isCommand = event.ctrlKey || event.metaKey;
  const sign = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: 1, ArrowDown: -1 }[event.key];
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (isCommand) {
    if (key !== "a") return false;
    actions.select(recording.notes);
    return true;
  }
  switch (key) {
    case "ArrowLeft":
    case "ArrowRight":
      if (event.shiftKey && change((note) => stretched(note, sign * STEP_S))) return true;
      if (change((note) => moved(note, sign * STEP_S, 0))) return true;
      actions.seek(player.position + sign * (event.shiftKey ? 5 : 1));
      return true;
    case "ArrowUp":
    case "ArrowDown":
      if (event.altKey) return change((note) => louder(note, sign * 5));
      if (change((note) => moved(note, 0, sign * (event.shiftKey ? 12 : 1)))) return true;
      roll.pan(0, sign * 3 * roll.pxPerPitch);
      actions.moved();
      return true;
    case "n":
    case "p":
      return goTo(neighbour(recording.notes, chosen, player.position, key), context);
    case "c":
      return goTo(neighbour(recording.candidates, offered, player.position, "n"), context);
    case "Enter":
      offered.forEach(actions.take);
      return true;
    case "a":
      actions.addAt(player.position);
      return true;
    case "Delete":
    case "Backspace":
      if (chosen.length) actions.edit(chosen, []);
      return true;
    case "Escape":
      actions.select([]);
      return true;
    case "e":
      actions.toggleEditing();
      return true;
    case "+":
    case "=":
    case "-":
      roll.zoomTime(key === "-" ? 0.8 : 1.25, roll.xOf(roll.position));
      actions.moved();
      return true;
    case "Home":
    case "End":
      actions.seek(key === "Home" ? 0 : recording.duration);
      return true;
    default:
      return false;
  }
}

export const louder = (note, by) => ({
  ...note,
  velocity: Math.max(1, Math.min(127, note.velocity + by)),
});

function neighbour(notes, chosen, position, key) {
  const last = chosen.at(key === "n" ? -1 : 0);
  const index = last ? notes.indexOf(last) : -1;
  if (index >= 0) return notes[index + (key === "n" ? 1 : -1)];
  const next = firstFrom(notes, (last?.onset ?? position) + (last ? 1e-6 : 0));
  return notes[key === "n" ? next : next - 1];
}

function goTo(note, { roll, actions }) {
  if (note) {
    roll.reveal(note);
    actions.select([note]);
    actions.preview(note);
  }
  return true;
}
