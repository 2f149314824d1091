// One recording with its notes: player, piano roll, tools and panels.
import { EditBar, Selection, describe } from "./edit_bar.js";
import { WishPanel } from "./compose.js";
import { NoteTable } from "./note_table.js";
import { Downloads, Mixer, Thresholds } from "./panels.js";
import { RollView } from "./roll_view.js";
import { ScoreView } from "./score_view.js";
import { TabPanel, Tabs } from "./tabs.js";
import { Transport } from "./transport.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";

export function Workspace({ recording, player, info, say, onAgain, onChange }) {
  const [selected, setSelected] = useState(new Set());
  const [options, setOptions] = useState({
    candidates: true,
    colorBy: "instrument",
    editing: false,
    follow: true,
    spectrogram: true,
  });
  const [, redraw] = useState(0);
  const [view, setView] = useState("roll");
  const heading = useRef();
  const setOption = (name, value) =>
    setOptions((before) => (before[name] === value ? before : { ...before, [name]: value }));

  useLayoutEffect(() => player.load(recording.sound), [recording.sound]);
  useEffect(() => heading.current.focus({ preventScroll: true }), []);
  useEffect(() => {
    player.setNotes(recording.notes, recording.duration, recording.pedal ?? []);
  }, [recording.notes, recording.duration, recording.pedal]);

  const chosen = recording.notes.filter(({ id }) => selected.has(id));
  const choose = (notes) => {
    setSelected(new Set(notes.map(({ id }) => id)));
    if (notes.length) say(describe(notes));
  };
  const isDone = recording.status === "done";
  const actions = {
    setOption,
    seek: (time) => player.seek(time),
    select: choose,
    toggle: (note) => choose(toggled(recording.notes, selected, note)),
    preview: (note) => player.preview(note),
    take: (note) => choose(recording.edit([], [{ ...note, confidence: null }])),
    edit: (replaced, put) => {
      if (!isDone) return;
      choose(recording.edit(replaced, put));
      if (put.length === 0) say(`${replaced.length} deleted`);
    },
    toggleEditing: () => setOption("editing", !options.editing),
  };

  return html`<main class="workspace">
    <h1 class="hidden" tabindex="-1" ref=${heading}>${recording.name}</h1>
    <${Progress} recording=${recording} />
    ${recording.warnings.map((text) => html`<p class="notice">${text}</p>`)}
    ${[player.error, isDone && recording.error].map(
      (text) => text && html`<p class="error" role="alert">${text}</p>`,
    )}
    <${Transport} ...${{ recording, player, options, setOption }} />
    <div class="columns">
      <div class="stage">
        <${Tabs} name="view" label="View" tabs=${VIEWS} shown=${view} show=${setView} />
        <${TabPanel} class="view" name="view" tab="roll" shown=${view}>
          ${isDone && html`<${EditBar} ...${{ recording, chosen, options, setOption, actions }} />`}
          <${RollView} ...${{ recording, player, selected, options, actions }}>
            ${isDone && html`<${Selection} chosen=${chosen} actions=${actions} />`}
          <//>
        <//>
        <${TabPanel} class="view" name="view" tab="score" shown=${view}>
          <${ScoreView}
            ...${{ recording, player, options, say }}
            isOffered=${info.formats.includes("svg")}
            isShown=${view === "score"}
          />
        <//>
        <${NoteTable}
          recording=${recording}
          selected=${selected}
          onChoose=${(note) => {
            choose([note]);
            player.seek(note.onset);
            player.preview(note);
          }}
        />
      </div>
      ${isDone &&
      html`<aside class="side" aria-label="Mixer, thresholds and downloads">
        <${Downloads}
          recording=${recording}
          formats=${info.formats}
          takesBeats=${info.beats}
        />
        ${recording.wish && html`<${WishPanel} ...${{ recording, onAgain, onChange }} />`}
        <${Mixer} recording=${recording} player=${player} onParts=${() => redraw({})} />
        <${Thresholds} recording=${recording} />
      </aside>`}
    </div>
  </main>`;
}

const VIEWS = [
  ["roll", "Piano roll"],
  ["score", "Score"],
];

function toggled(notes, selected, note) {
  const wanted = new Set(selected);
  if (!wanted.delete(note.id)) wanted.add(note.id);
  return notes.filter(({ id }) => wanted.has(id));
}

function Progress({ recording }) {
  const { status, seconds, duration } = recording;
  if (status === "done") return null;
  return html`<div class="progress">
    <span>${statusText(recording)}</span>
    <progress
      max="1"
      value=${status === "working" && seconds ? Math.min(1, seconds / duration) : undefined}
      aria-label="Progress"
    ></progress>
  </div>`;
}

export function statusText(recording) {
  const { status, place, seconds, duration, notes } = recording;
  if (status === "reading") return "Reading the file";
  if (status === "sending") return "Handing it over";
  if (status === "queued") return place ? `Waiting: place ${place} in the queue` : "Waiting";
  if (status === "failed") return recording.error;
  if (status === "done") return `${notes.length} notes`;
  const share = duration ? Math.min(100, Math.floor((100 * seconds) / duration)) : 0;
  if (recording.wish) return `Composing: ${share} %`;
  return `Listening: ${share} %, ${notes.length} notes so far`;
}
