// The panels beside the piano roll: mixer, thresholds, downloads.
import { Icon } from "./icons.js";
import { partColor, partName, partOf, pitchName } from "./instruments.js";
import { html, useState } from "./vendor/preact.js";

export function Mixer({ recording, player, onParts }) {
  const counts = new Map();
  for (const note of recording.notes)
    counts.set(partOf(note), (counts.get(partOf(note)) ?? 0) + 1);
  const toggle = (set, part) => () => {
    if (!set.delete(part)) set.add(part);
    player.applyParts();
    onParts();
  };
  const switches = [
    ["Mute", "M", player.muted],
    ["Solo", "S", player.soloed],
  ];
  return html`<section class="panel" aria-labelledby="mixer-title">
    <h2 id="mixer-title">Instruments</h2>
    <ul class="mixer">
      ${[...counts].map(([part, count]) => {
        const name = partName(part);
        return html`<li key=${part} class=${player.isAudible(part) ? "" : "off"}>
          <span
            class="swatch"
            style=${{ background: partColor(part, ...LOOK) }}
            aria-hidden="true"
          ></span>
          <span class="part">${name}</span>
          <span class="count">${count}<span class="hidden"> notes</span></span>
          ${switches.map(
            ([label, letter, set]) => html`<button
              type="button"
              class="switch"
              aria-pressed=${String(set.has(part))}
              aria-label="${label} ${name}"
              title=${label}
              onClick=${toggle(set, part)}
            >
              ${letter}
            </button>`,
          )}
        </li>`;
      })}
    </ul>
  </section>`;
}

// Lightness and chroma that style.css gives notes.
const LOOK = ["var(--note-lightness)", "var(--note-chroma)"];
const percent = (value) => `${Math.round(value * 100)} %`;
const SLIDERS = [
  ["onset", "Onsets", "less: more notes", 0.05, 0.95, 0.01, percent],
  ["frame", "Sustain", "less: longer notes", 0.05, 0.95, 0.01, percent],
  ["drum", "Drums", "less: more strokes", 0.05, 0.95, 0.01, percent],
  ["minDuration", "Shortest note", "", 0, 0.5, 0.01, (s) => `${Math.round(s * 1000)} ms`],
  ["lowest", "Lowest note", "", 21, 108, 1, pitchName],
  ["highest", "Highest note", "", 21, 108, 1, pitchName],
];

export function Thresholds({ recording }) {
  const { thresholds, defaults } = recording;
  if (!thresholds) return null;
  const isChanged = Object.keys(defaults).some(
    (name) => defaults[name] !== thresholds[name],
  );
  // A threshold of null is the model's own, class by class: it has no slider.
  const shown = SLIDERS.filter(([name]) => typeof thresholds[name] === "number");
  return html`<section class="panel" aria-labelledby="thresholds-title">
    <h2 id="thresholds-title">
      Thresholds
      <button
        type="button"
        class="quiet"
        disabled=${!isChanged}
        onClick=${() => recording.choose(defaults)}
      >
        Reset
      </button>
    </h2>
    ${shown.map(([name, label, hint, min, max, step, text]) => {
      // Limits of the model may lie beyond the keys of a piano.
      const value = Math.max(min, Math.min(max, thresholds[name]));
      return html`<label class="slider" key=${name}>
        <span>${label} ${hint && html`<small>${hint}</small>`}</span>
        <output>${text(value)}</output>
        <input
          type="range"
          name=${name}
          min=${min}
          max=${max}
          step=${step}
          value=${value}
          aria-valuetext=${text(value)}
          onInput=${({ target }) =>
            recording.choose({ [name]: Number(target.value) })}
        />
      </label>`;
    })}
  </section>`;
}

// Files of the engine's formats; those unknown here are offered by their ending.
const FORMATS = {
  mid: ["MIDI", "for any music program"],
  musicxml: ["MusicXML", "for notation programs"],
  pdf: ["PDF", "the score, to print"],
  svg: ["SVG", "the score, as a picture"],
  csv: ["CSV", "for spreadsheets"],
  json: ["JSON", "for programs"],
  png: ["Picture", "of the notes"],
  wav: ["Sound", "recording left, notes right"],
};

export function Downloads({ recording, formats, takesBeats }) {
  const [state, setState] = useState({});
  const save = async (format) => {
    setState({ busy: format });
    try {
      const blob = await recording.result(format);
      const stem = recording.name.replace(/\.[^.]+$/, "");
      saveAs(blob, `${stem}.${format}`);
      setState({});
    } catch (error) {
      setState({ error: error.message });
    }
  };
  return html`<section class="panel" aria-labelledby="downloads-title">
    <h2 id="downloads-title">Download</h2>
    <div class="downloads">
      ${formats.map((format) => {
        const [name, what] = FORMATS[format] ?? [format.toUpperCase(), ""];
        const title = recording.wish && format === "wav" ? "" : what;
        return html`<button
          type="button"
          key=${format}
          class=${format === "mid" ? "primary" : ""}
          title=${title}
          aria-busy=${String(state.busy === format)}
          disabled=${Boolean(state.busy)}
          onClick=${() => save(format)}
        >
          <${Icon} name="download" />
          <span>${name}</span>
        </button>`;
      })}
    </div>
    ${takesBeats && html`<${BeatChoice} recording=${recording} />`}
    ${state.error && html`<p class="error" role="alert">${state.error}</p>`}
  </section>`;
}

const TEMPOS = { detect: "as played", even: "even", none: "none" };
const METERS = ["2/4", "3/4", "4/4", "5/4", "2/2", "3/8", "6/8", "7/8", "9/8", "12/8"];
const [LEAST_BPM, MOST_BPM] = [1, 1000];

// What beats and bars MIDI files and scores have.
function BeatChoice({ recording }) {
  const { tempo, bpm, meter } = recording.beats;
  const choose = (changes) => recording.chooseBeats(changes);
  const setBpm = ({ target }) => {
    const wanted = Number(target.value) || bpm;
    target.value = Math.max(LEAST_BPM, Math.min(wanted, MOST_BPM));
    choose({ bpm: Number(target.value) });
  };
  return html`<fieldset class="beats">
    <legend>Bars of MIDI and score</legend>
    <label>
      <span>Tempo</span>
      <select onChange=${({ target }) => choose({ tempo: target.value })}>
        ${Object.entries(TEMPOS).map(
          ([value, label]) => html`<option value=${value} selected=${value === tempo}>
            ${label}
          </option>`,
        )}
      </select>
    </label>
    ${tempo === "even" &&
    html`<label>
      <span>Beats a minute</span>
      <input
        type="number"
        min=${LEAST_BPM}
        max=${MOST_BPM}
        step="any"
        value=${bpm}
        onChange=${setBpm}
      />
    </label>`}
    <label>
      <span>Meter</span>
      <select
        disabled=${tempo === "none"}
        onChange=${({ target }) => choose({ meter: target.value })}
      >
        <option value="" selected=${meter === ""}>as played</option>
        ${METERS.map(
          (value) => html`<option value=${value} selected=${value === meter}>
            ${value}
          </option>`,
        )}
      </select>
    </label>
  </fieldset>`;
}

function saveAs(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
