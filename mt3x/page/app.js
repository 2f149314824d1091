// The page: the engine, the recordings, and the one that is looked at.
import { ComposeForm, firstWish } from "./compose.js";
import { Composition } from "./composition.js";
import { Icon, IconButton } from "./icons.js";
import { LiveNotes } from "./live.js";
import { Player } from "./player.js";
import { Recording } from "./recording.js";
import { watchTheme } from "./roll_view.js";
import { ModelChoice, Sources, choices, optionsOf } from "./start.js";
import { TabPanel, Tabs } from "./tabs.js";
import { html, render, useEffect, useRef, useState } from "./vendor/preact.js";
import { Workspace, statusText } from "./workspace.js";

const kind = document.querySelector('meta[name="mt3x-engine"]').content;

// A context of sound made before the first gesture would have to be woken.
let player = null;
const thePlayer = () => (player ??= new Player());

// One recording is read after another: they arrive in order, and memory lasts.
let reading = Promise.resolve();

function App({ engine }) {
  const info = engine.info();
  const [recordings, setRecordings] = useState([]);
  const [current, setCurrent] = useState(null);
  const [model, setModel] = useState(info.model ?? info.models[0]);
  const [task, setTask] = useState("transcribe");
  const [wish, setWish] = useState(info.compose && firstWish(info.compose.defaults));
  const [isOver, setOver] = useState(false);
  const [, redraw] = useState(0);
  const said = useRef();
  const say = (text) => (said.current.textContent = text);

  const start = (recording) => {
    const rateHz = thePlayer().context.sampleRate;
    reading = reading.then(() => recording.start(engine, rateHz));
  };
  const addAll = (added) => {
    if (added.length === 0) return;
    added.forEach(start);
    setRecordings((before) => [...before, ...added]);
    choose(added[0]);
  };
  const choose = (recording) => {
    setCurrent(recording);
    setTask("transcribe");
  };
  const add = (files) =>
    addAll(files.map((file) => new Recording(file, optionsOf(model, info), changed)));
  const compose = (wanted, prompt) => addAll([new Composition(wanted, prompt, changed)]);

  // What plays would be recorded.
  const pause = () => player?.pause();

  const spoken = useRef(new Map());
  function changed(recording) {
    redraw({});
    // Percentages would drown everything else.
    const text = statusText(recording).replace(/\d+ %, .*/, "");
    if (spoken.current.get(recording) !== text) say(`${recording.name}: ${text}`);
    spoken.current.set(recording, text);
  }

  const remove = (recording) => {
    recording.close().catch(() => {}); // the engine forgets it by itself, too
    const left = recordings.filter((each) => each !== recording);
    setRecordings(left);
    if (current === recording) {
      thePlayer().pause();
      setCurrent(left.at(-1) ?? null);
    }
  };
  const retry = (recording) => {
    const again = recording.again(changed);
    start(again);
    setRecordings(recordings.map((each) => (each === recording ? again : each)));
    setCurrent(again);
  };

  useEffect(() => (player ? player.subscribe(() => redraw({})) : undefined), [player]);
  const isEmpty = recordings.length === 0;
  const isComposing = task === "compose";
  const shown = isComposing ? null : current;
  useEffect(() => listenToPage({ add, setOver, current: shown, recordings }));

  const choice = { models: choices(info), model, setModel };
  const prompt = current?.status === "done" && current.notes.length ? current : null;
  const form = info.compose
    ? html`<${ComposeForm}
        about=${info.compose}
        onWish=${compose}
        ...${{ wish, setWish, prompt }}
      />`
    : null;
  return html`
    <header class="top">
      <a class="brand" href=${location.pathname} aria-label="mt3x, start page">
        <img src="icon.svg" alt="" width="28" height="28" />
        <span>mt3x</span>
      </a>
      ${isEmpty
        ? html`<span class="space"></span>`
        : html`<nav class="recordings" aria-label="Recordings">
              ${recordings.map((recording) => {
                const isCurrent = recording === shown;
                return html`<${Tab}
                  key=${recording}
                  ...${{ recording, isCurrent, remove, retry }}
                  choose=${() => choose(recording)}
                />`;
              })}
            </nav>
            <${Sources} onFiles=${add} onRecord=${pause} isSmall>
              ${form &&
              html`<button
                type="button"
                aria-pressed=${String(isComposing)}
                onClick=${() => {
                  pause();
                  setTask(isComposing ? "transcribe" : "compose");
                }}
              >
                <${Icon} name="compose" /><span>Compose</span>
              </button>`}
            <//>
            <${ModelChoice} ...${choice} isSmall />`}
      <${ThemeButton} />
    </header>
    ${isEmpty
      ? html`<${Start} ...${{ add, choice, info, form, task, setTask }} />`
      : isComposing
        ? html`<${Composing} form=${form} />`
        : current?.status === "failed"
          ? html`<main class="failed">
              <p class="error" role="alert">${current.error}</p>
              <button type="button" onClick=${() => retry(current)}>Try again</button>
            </main>`
          : current &&
            html`<${Workspace}
              key=${current}
              recording=${current}
              player=${thePlayer()}
              info=${info}
              say=${say}
              onAgain=${() => addAll([current.again(changed, null)])}
              onChange=${() => {
                pause();
                setWish({ ...current.wish, seed: current.seed });
                setTask("compose");
              }}
            />`}
    <p class="hidden" role="status" aria-live="polite" ref=${said}></p>
    ${isOver && html`<div class="drop-veil" aria-hidden="true">Drop to transcribe</div>`}
  `;
}

const TASKS = [
  ["transcribe", "Transcribe"],
  ["compose", "Compose"],
];

// form: of wishes for music, or null where the engine composes none.
function Start({ add, choice, info, form, task, setTask }) {
  const { maxMinutes } = info.limits;
  const panel = { name: "task", shown: task, class: "card" };
  const sources = html`<${Sources}
      onFiles=${add}
      onRecord=${() => {}}
      formatsHint="Any sound or video the browser plays, up to ${maxMinutes} minutes"
    />
    <${ModelChoice} ...${choice} />`;
  return html`<main class="start">
    <h1>${task === "compose" ? "From a mood to music" : "From sound to notes"}</h1>
    <p class="lead">
      ${task === "compose"
        ? COMPOSE_LEAD
        : `Drop a recording of a piano or a band. See its notes appear, hear them, correct
          them, and take them with you as MIDI.`}
    </p>
    ${form
      ? html`<${Tabs} name="task" label="Task" tabs=${TASKS} shown=${task} show=${setTask} />
          <${TabPanel} tab="transcribe" ...${panel}>${sources}<//>
          <${TabPanel} tab="compose" ...${panel}>${form}<//>`
      : html`<div class="card">${sources}</div>`}
    <p class="privacy">${privacy()}</p>
  </main>`;
}

const COMPOSE_LEAD = `Choose a mood and get piano music for it. Hear it, correct it, and take
  it with you as MIDI.`;

function Composing({ form }) {
  const heading = useRef();
  useEffect(() => heading.current.focus({ preventScroll: true }), []);
  return html`<main class="start composing">
    <h1 tabindex="-1" ref=${heading}>From a mood to music</h1>
    <p class="lead">${COMPOSE_LEAD}</p>
    <div class="card">${form}</div>
  </main>`;
}

function privacy() {
  const isHere = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  if (kind === "browser" || isHere) return "Nothing leaves this computer.";
  return `Recordings go to ${location.host} and nowhere else.`;
}

function Tab({ recording, isCurrent, choose, remove, retry }) {
  const { status, name } = recording;
  return html`<div class="tab ${status} ${isCurrent ? "current" : ""}">
    <button
      type="button"
      class="tab-name"
      aria-current=${isCurrent ? "true" : undefined}
      onClick=${choose}
    >
      <span class="name">${name}</span>
      <small>${status === "failed" ? "failed" : statusText(recording)}</small>
    </button>
    ${status === "failed" &&
    html`<${IconButton} name="retry" label="Try ${name} again" onClick=${() => retry(recording)} />`}
    <${IconButton} name="close" label="Remove ${name}" onClick=${() => remove(recording)} />
  </div>`;
}

function ThemeButton() {
  const root = document.documentElement;
  const [theme, setTheme] = useState(root.dataset.theme);
  useEffect(() => watchTheme(() => setTheme(root.dataset.theme)), []);
  const other = theme === "dark" ? "light" : "dark";
  const change = () => {
    localStorage.setItem("mt3x-theme", other);
    root.dataset.theme = other;
  };
  const name = other === "dark" ? "moon" : "sun";
  return html`<${IconButton} name=${name} label="Use the ${other} theme" onClick=${change} />`;
}

const USES_SPACE = "a, button, input:not([type=range]), select, summary";

// Drops and keys that are meant for the whole page.
function listenToPage({ add, setOver, current, recordings }) {
  const holdsFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
  const handlers = {
    dragover(event) {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      setOver(true);
    },
    dragleave({ relatedTarget }) {
      if (!relatedTarget) setOver(false);
    },
    drop(event) {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      setOver(false);
      add([...event.dataTransfer.files]);
    },
    keydown(event) {
      if (!current || event.defaultPrevented) return;
      if (event.key === " " && !event.target.closest(USES_SPACE)) {
        event.preventDefault();
        if (player?.playing) player.pause();
        else player?.play();
      }
      if (!(event.ctrlKey || event.metaKey)) return;
      const key = event.key.toLowerCase();
      if (key === "y" || (key === "z" && event.shiftKey)) current.redo();
      else if (key === "z") current.undo();
      else return;
      event.preventDefault();
    },
    beforeunload(event) {
      if (recordings.some(({ canUndo }) => canUndo)) event.preventDefault();
    },
  };
  for (const [type, handler] of Object.entries(handlers))
    addEventListener(type, handler);
  return () => {
    for (const [type, handler] of Object.entries(handlers))
      removeEventListener(type, handler);
  };
}

const root = document.getElementById("app");
try {
  const { createEngine } = await import(`./engines/${kind}.js`);
  const engine = await createEngine({});
  LiveNotes.listen = engine.listen;
  render(html`<${App} engine=${engine} />`, root);
} catch (error) {
  render(html`<main class="failed"><p class="error" role="alert">${error.message}</p></main>`, root);
}
