// Wishes for music: the form, and what the page tells of one that was fulfilled.
import { Icon } from "./icons.js";
import { MoodPlane } from "./moods.js";
import { html, useState } from "./vendor/preact.js";

const MAJOR = ["C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];
const MINOR = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"];
const KEYS = [...MAJOR, ...MINOR.map((tonic) => `${tonic}m`)];

function keyName(key) {
  if (key === null) return "by mood";
  if (key === "any") return "any";
  const tonic = key.replace("m", "").replace("b", "♭").replace("#", "♯");
  return `${tonic} ${key.endsWith("m") ? "minor" : "major"}`;
}

// The wish that the form begins with. defaults: the engine's.
export const firstWish = (defaults) => ({
  ...defaults,
  valence: defaults.valence ?? 0.7,
  arousal: defaults.arousal ?? 0.4,
  seed: null,
});

const SLIDERS = [
  ["guidance", "Mood", "more: clearer, less varied", 1, 8, 0.5],
  ["temperature", "Daring", "less: plainer", 0.5, 1.5, 0.05],
];

// prompt: a recording whose notes may be continued, or null.
export function ComposeForm({ about, wish, setWish, prompt, onWish }) {
  const [continues, setContinues] = useState(false);
  const change = (changes) => setWish((before) => ({ ...before, ...changes }));
  const number = (name) => ({
    name,
    type: "number",
    value: wish[name] ?? "",
    onInput: ({ target }) =>
      change({ [name]: target.value === "" ? null : Number(target.value) }),
  });
  const onSubmit = (event) => {
    event.preventDefault();
    onWish(wish, prompt && continues ? prompt.notes : null);
  };
  return html`<form class="compose" onSubmit=${onSubmit}>
    <${MoodPlane} mood=${wish} choose=${change} />
    <div class="wishes">
      <label>
        <span>Seconds</span>
        <input ...${number("seconds")} min="1" max=${about.maxSeconds} step="any" required />
      </label>
      <label>
        <span>Key</span>
        <select
          name="key"
          onChange=${({ target }) => change({ key: target.value || null })}
        >
          ${[null, "any", ...KEYS].map(
            (key) => html`<option value=${key ?? ""} selected=${key === wish.key}>
              ${keyName(key)}
            </option>`,
          )}
        </select>
      </label>
      <label>
        <span>Seed</span>
        <input ...${number("seed")} min="0" step="1" placeholder="any" />
      </label>
      ${prompt &&
      html`<label class="check">
        <input
          type="checkbox"
          name="continues"
          checked=${continues}
          onChange=${({ target }) => setContinues(target.checked)}
        />
        <span>Continue “${prompt.name}”</span>
      </label>`}
      <details>
        <summary>More</summary>
        ${SLIDERS.map(
          ([name, label, hint, least, most, step]) => html`<label class="slider" key=${name}>
            <span>${label} <small>${hint}</small></span>
            <output>${wish[name]}</output>
            <input
              type="range"
              name=${name}
              min=${Math.min(least, about.defaults[name])}
              max=${Math.max(most, about.defaults[name])}
              step=${step}
              value=${wish[name]}
              onInput=${({ target }) => change({ [name]: Number(target.value) })}
            />
          </label>`,
        )}
      </details>
      <button class="primary"><${Icon} name="compose" /><span>Compose</span></button>
    </div>
  </form>`;
}

// What a piece was made with, and ways to others.
export function WishPanel({ recording, onAgain, onChange }) {
  const { wish, seed, prompt } = recording;
  const rows = [
    ["Valence", wish.valence],
    ["Arousal", wish.arousal],
    ["Key", keyName(wish.key)],
    ["Seed", seed],
    ...(prompt ? [["Continues", `${prompt.length} notes`]] : []),
  ];
  return html`<section class="panel" aria-labelledby="wish-title">
    <h2 id="wish-title">Composed</h2>
    <dl class="wish">
      ${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
    <div class="buttons">
      <button type="button" onClick=${onAgain}>
        <${Icon} name="retry" /><span>Again</span>
      </button>
      <button type="button" onClick=${onChange}>
        <${Icon} name="compose" /><span>Change</span>
      </button>
    </div>
  </section>`;
}
