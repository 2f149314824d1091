// Playing: button, place, speed, and how the original and the transcription are mixed.
import { Icon, IconButton } from "./icons.js";
import { clock } from "./notes.js";
import { html, useLayoutEffect, useRef } from "./vendor/preact.js";

const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5];

export function Transport({ recording, player, options, setOption }) {
  const place = useRef();
  const time = useRef();
  const level = useRef();

  useLayoutEffect(() => {
    let request = requestAnimationFrame(function frame() {
      request = requestAnimationFrame(frame);
      const { position } = player;
      const text = clock(position);
      if (time.current.textContent !== text) {
        time.current.textContent = text;
        place.current.setAttribute("aria-valuetext", text);
      }
      place.current.value = position;
      const loudness = player.playing ? player.level() : 0;
      level.current.value = loudness;
    });
    return () => cancelAnimationFrame(request);
  }, [player]);

  const { wish, status, duration } = recording;
  const isReady = duration > 0 && (!wish || status === "done");
  return html`<div class="transport" role="group" aria-label="Playback">
    <button
      type="button"
      class="play"
      disabled=${!isReady}
      title="Space"
      aria-label=${player.playing ? "Pause" : "Play"}
      onClick=${() => (player.playing ? player.pause() : player.play())}
    >
      <${Icon} name=${player.playing ? "pause" : "play"} />
    </button>
    <div class="place">
      <span class="times"
        ><span ref=${time}>0:00</span><span> / ${clock(duration)}</span></span
      >
      <input
        ref=${place}
        type="range"
        aria-label="Position"
        min="0"
        max=${duration || 1}
        step="0.01"
        disabled=${!isReady}
        onInput=${({ target }) => player.seek(Number(target.value))}
      />
      <meter ref=${level} class="level" min="0" max="1" aria-label="Loudness"></meter>
    </div>
    <div class="balance">
      ${!wish && html`<${Balance} player=${player} />`}
      <label class="speed">
        <span class="hidden">Speed</span>
        <select
          value=${player.speed}
          title="Speed"
          onChange=${({ target }) => player.setSpeed(Number(target.value))}
        >
          ${SPEEDS.map(
            (speed) =>
              html`<option value=${speed} selected=${speed === player.speed}>
                ${speed}×
              </option>`,
          )}
        </select>
      </label>
      <${IconButton}
        name="follow"
        label="Follow the playback"
        aria-pressed=${String(options.follow)}
        onClick=${() => setOption("follow", !options.follow)}
      />
    </div>
  </div>`;
}

function Balance({ player }) {
  const setBalance = ({ target }) => {
    player.balance = Number(target.value);
    player.applyBalance();
  };
  const toggleSides = () => {
    player.sides = !player.sides;
    player.applyBalance();
  };
  return html`<label class="mix">
      <span>Original</span>
      <input
        type="range"
        aria-label="Balance of original and transcription"
        aria-valuetext="${Math.round(player.balance * 100)} % transcription"
        min="0"
        max="1"
        step="0.01"
        value=${player.balance}
        onInput=${setBalance}
      />
      <span>Notes</span>
    </label>
    <${IconButton}
      name="sides"
      label="Original left, notes right"
      aria-pressed=${String(player.sides)}
      onClick=${toggleSides}
    />`;
}
