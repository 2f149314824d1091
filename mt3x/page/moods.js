// Moods: their names, and the plane on which one is chosen.
import { html, useRef } from "./vendor/preact.js";

const STEP = 0.05;
const NEUTRAL = 0.15; // so near to the middle

const QUADRANTS = ["Tense", "Joyful", "Sad", "Serene"];

// What a mood is called, of valence and arousal from -1 to 1.
export function moodName({ valence, arousal }) {
  if (Math.hypot(valence, arousal) < NEUTRAL) return "Neutral";
  return QUADRANTS[(arousal < 0 ? 2 : 0) + (valence < 0 ? 0 : 1)];
}

const AXES = [
  ["valence", "Valence, from sad to happy", "sad", "happy"],
  ["arousal", "Arousal, from calm to excited", "calm", "excited"],
];

const onStep = (value) =>
  Math.max(-1, Math.min(1, Math.round(value / STEP) / Math.round(1 / STEP)));

const told = (value, low, high) =>
  value === 0 ? `between ${low} and ${high}` : `${Math.abs(value)} ${value < 0 ? low : high}`;

// Two sliders in one: both listen to all arrow keys, the pointer moves both.
export function MoodPlane({ mood, choose }) {
  const plane = useRef();
  const put = (valence, arousal) =>
    choose({ valence: onStep(valence), arousal: onStep(arousal) });
  const follow = ({ clientX, clientY }) => {
    const { left, top, width, height } = plane.current.getBoundingClientRect();
    put((2 * (clientX - left)) / width - 1, 1 - (2 * (clientY - top)) / height);
  };
  const onPointerDown = (event) => {
    if (event.button !== 0) return;
    event.preventDefault(); // it would take the focus away
    plane.current.setPointerCapture(event.pointerId);
    plane.current.querySelector("input").focus({ preventScroll: true });
    follow(event);
  };
  const onKeyDown = (event) => {
    const [right, up] =
      { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[
        event.key
      ] ?? [];
    if (right === undefined) return;
    event.preventDefault();
    const by = event.shiftKey ? 5 * STEP : STEP;
    put(mood.valence + right * by, mood.arousal + up * by);
  };
  const place = {
    left: `${50 + 50 * mood.valence}%`,
    top: `${50 - 50 * mood.arousal}%`,
  };
  return html`<div class="mood" role="group" aria-label="Mood">
    <div
      ref=${plane}
      class="plane"
      onPointerDown=${onPointerDown}
      onPointerMove=${(event) => event.buttons && follow(event)}
      onKeyDown=${onKeyDown}
    >
      ${AXES.map(
        ([name, label, low, high]) => html`<input
          key=${name}
          type="range"
          name=${name}
          aria-label=${label}
          aria-valuetext=${told(mood[name], low, high)}
          min="-1"
          max="1"
          step=${STEP}
          value=${mood[name]}
          onInput=${({ target }) => choose({ [name]: onStep(Number(target.value)) })}
        />`,
      )}
      ${QUADRANTS.map(
        (name) => html`<span class="quadrant ${name.toLowerCase()}" aria-hidden="true">
          ${name}
        </span>`,
      )}
      ${AXES.flatMap(([, , low, high]) => [low, high]).map(
        (name) => html`<span class="pole ${name}-pole" aria-hidden="true">${name}</span>`,
      )}
      <span class="dot" style=${place} aria-hidden="true"></span>
    </div>
    <p class="chosen-mood">
      <strong>${moodName(mood)}</strong>
      ${AXES.map(([name, , low, high]) => told(mood[name], low, high)).join(", ")}
    </p>
  </div>`;
}
