// The tools above the piano roll.
import { Icon, IconButton } from "./icons.js";
import { CLASSES, noteName, partName, partOf } from "./instruments.js";
import { html } from "./vendor/preact.js";

const OF_RECORDINGS = [
  ["spectrogram", "Spectrogram"],
  ["candidates", "Candidates"],
];

export function EditBar({ recording, chosen, options, setOption, actions }) {
  return html`<div class="tools" role="toolbar" aria-label="Notes">
    <button
      type="button"
      aria-pressed=${String(options.editing)}
      title="Drag notes, draw new ones (E)"
      onClick=${() => setOption("editing", !options.editing)}
    >
      <${Icon} name="pencil" /><span>Edit</span>
    </button>
    <${IconButton}
      name="undo"
      label="Undo"
      disabled=${!recording.canUndo}
      onClick=${() => recording.undo()}
    />
    <${IconButton}
      name="redo"
      label="Redo"
      disabled=${!recording.canRedo}
      onClick=${() => recording.redo()}
    />
    <${IconButton}
      name="bin"
      label="Delete the selected notes"
      disabled=${chosen.length === 0}
      onClick=${() => actions.edit(chosen, [])}
    />
    <span class="space"></span>
    <label class="color-by">
      <span>Color</span>
      <select onChange=${({ target }) => setOption("colorBy", target.value)}>
        <option value="instrument" selected=${options.colorBy === "instrument"}>
          instrument
        </option>
        <option value="velocity" selected=${options.colorBy === "velocity"}>
          velocity
        </option>
      </select>
    </label>
    ${(recording.wish ? [] : OF_RECORDINGS).map(
      ([name, label]) => html`<label class="check">
        <input
          type="checkbox"
          checked=${options[name]}
          onChange=${({ target }) => setOption(name, target.checked)}
        />
        <span>${label}</span>
      </label>`,
    )}
  </div>`;
}

// What is selected, and its velocity and instrument.
export function Selection({ chosen, actions }) {
  const [first] = chosen;
  const set = (changes) =>
    actions.edit(
      chosen,
      chosen.map((note) => ({ ...note, ...changes })),
    );
  if (!first)
    return html`<div class="tools selection">
      <span>Nothing is selected: click a note, or press N on the piano roll.</span>
    </div>`;
  return html`<div class="tools selection" role="group" aria-label="Selected notes">
    <strong>${describe(chosen)}</strong>
    <label class="velocity">
      <span>Velocity</span>
      <input
        type="range"
        min="1"
        max="127"
        value=${first.velocity}
        aria-valuetext=${first.velocity}
        onChange=${({ target }) => set({ velocity: Number(target.value) })}
      />
    </label>
    ${!chosen.some(({ drum }) => drum) &&
    html`<label>
      <span class="hidden">Instrument</span>
      <select onChange=${({ target }) => set({ program: Number(target.value) })}>
        ${programs(first.program).map(
          ([name, program]) =>
            html`<option value=${program} selected=${program === first.program}>
              ${name}
            </option>`,
        )}
      </select>
    </label>`}
  </div>`;
}

// The classes, with the note's own program in the place of its class.
function programs(own) {
  const ownName = partName(String(own));
  return CLASSES.map(([name, program]) => [name, name === ownName ? own : program]);
}

export function describe(chosen) {
  if (chosen.length > 1) return `${chosen.length} notes`;
  const [note] = chosen;
  const length = `${(note.offset - note.onset).toFixed(2)} s`;
  const facts = [
    noteName(note),
    `${note.onset.toFixed(2)} s`,
    `${length} long`,
    `velocity ${note.velocity}`,
    partName(partOf(note)),
  ];
  return facts.join(", ");
}
