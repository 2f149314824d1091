// How recordings come in: dropped, picked, recorded, or the example.
import { Icon } from "./icons.js";
import { LiveNotes, LiveRoll } from "./live.js";
import { clock } from "./notes.js";
import { startRecording } from "./recorder.js";
import { html, useEffect, useRef, useState } from "./vendor/preact.js";

const MODELS = {
  auto: ["Automatic", "listens first, then chooses"],
  piano: ["Piano", "solo piano, most exact"],
  pedal: ["Piano and pedal", "solo piano, keys apart from the sustain pedal"],
  band: ["Band", "any instruments and drums"],
};

// What may be chosen: the engine's models, and the pedal after the one that hears it.
export const choices = ({ models, pedalModel }) =>
  models.flatMap((name) => (name === pedalModel ? [name, "pedal"] : [name]));

// What an engine's `transcribe` takes for a choice.
export const optionsOf = (choice, { pedalModel }) =>
  choice === "pedal" ? { model: pedalModel, pedal: "events" } : { model: choice };

export function ModelChoice({ models, model, setModel, isSmall }) {
  if (models.length < 2) return null;
  if (isSmall)
    return html`<label class="model">
      <span class="hidden">What is playing in the next recording?</span>
      <select
        title="What is playing in the next recording?"
        onChange=${({ target }) => setModel(target.value)}
      >
        ${models.map(
          (name) => html`<option value=${name} selected=${name === model}>
            ${MODELS[name]?.[0] ?? name}
          </option>`,
        )}
      </select>
    </label>`;
  return html`<fieldset class="models">
    <legend>What is playing?</legend>
    ${models.map((name) => {
      const [label, hint] = MODELS[name] ?? [name, ""];
      return html`<label key=${name} title=${hint}>
        <input
          type="radio"
          name="model"
          value=${name}
          checked=${name === model}
          onChange=${() => setModel(name)}
        />
        <span>${label}</span>
      </label>`;
    })}
  </fieldset>`;
}

export function Sources({ onFiles, onRecord, isSmall, formatsHint, children }) {
  const input = useRef();
  const [isRecording, setRecording] = useState(false);
  const [error, setError] = useState("");
  const example = async () => {
    const address = new URL("./example.ogg", import.meta.url);
    const blob = await (await fetch(address)).blob();
    onFiles([new File([blob], "Prelude in C.ogg", { type: blob.type })]);
  };
  const picked = ({ target }) => {
    onFiles([...target.files]);
    target.value = "";
  };
  if (isRecording)
    return html`<${RecorderPanel}
      onFile=${(file) => onFiles([file])}
      onClose=${(message) => {
        setRecording(false);
        setError(message);
      }}
    />`;
  return html`<div class=${isSmall ? "sources small" : "sources"}>
    <input
      ref=${input}
      class="hidden"
      type="file"
      accept="audio/*,video/*,.flac,.mp3,.m4a,.ogg,.opus,.wav"
      multiple
      tabindex="-1"
      aria-label="Recordings"
      onChange=${picked}
    />
    ${!isSmall &&
    html`<p class="drop-hint" id="drop-hint">
      <${Icon} name="upload" />
      <strong>Drop a recording here</strong>
      <span>${formatsHint}</span>
    </p>`}
    <div class="buttons">
      <button type="button" class="primary" onClick=${() => input.current.click()}>
        <${Icon} name="upload" /><span>${isSmall ? "Open" : "Choose files"}</span>
      </button>
      <button
        type="button"
        onClick=${() => {
          onRecord();
          setError("");
          setRecording(true);
        }}
      >
        <${Icon} name="microphone" /><span>Record</span>
      </button>
      <button type="button" onClick=${example}>
        <${Icon} name="example" /><span>Example</span>
      </button>
      ${children}
    </div>
    ${error && html`<p class="error" role="alert">${error}</p>`}
  </div>`;
}

function RecorderPanel({ onFile, onClose }) {
  const [recorder, setRecorder] = useState(null);
  const [isPaused, setPaused] = useState(false);
  const [heard, setHeard] = useState({ peak: 0, seconds: 0 });
  const [live] = useState(() => new LiveNotes());

  useEffect(() => {
    let current = null;
    let isGone = false;
    startRecording((peak, seconds, samples, rateHz) => {
      live.push(samples, rateHz);
      setHeard((before) => ({ peak: Math.max(peak, before.peak * 0.85), seconds }));
    }).then(
      (started) => {
        current = started;
        if (isGone) started.cancel();
        else setRecorder(started);
      },
      (failure) => onClose(explained(failure)),
    );
    return () => {
      isGone = true;
      live.close();
      current?.cancel().catch(() => {}); // it may have stopped already
    };
  }, []);

  const pause = () => {
    recorder.pause(!isPaused);
    setPaused(!isPaused);
  };
  const stop = async () => {
    onFile(await recorder.stop());
    onClose("");
  };
  const decibels = 20 * Math.log10(heard.peak + 1e-6);
  const level = Math.max(0, Math.min(1, 1 + decibels / 60));
  return html`<div class="recorder" role="group" aria-label="Recorder">
    <p class=${isPaused || !recorder ? "lamp" : "lamp on"}>
      ${!recorder ? "Waiting for the microphone" : isPaused ? "Paused" : "Recording"}
      <strong>${clock(heard.seconds)}</strong>
    </p>
    <meter
      min="0"
      max="1"
      low="0.2"
      high="0.97"
      optimum="0.6"
      value=${level}
      aria-label="Microphone level"
    ></meter>
    ${live.works && html`<${LiveRoll} live=${live} seconds=${heard.seconds} />`}
    <div class="buttons">
      <button type="button" class="primary" disabled=${!recorder} onClick=${stop}>
        <${Icon} name="stop" /><span>Stop and transcribe</span>
      </button>
      <button
        type="button"
        disabled=${!recorder}
        aria-pressed=${String(isPaused)}
        onClick=${pause}
      >
        <${Icon} name=${isPaused ? "record" : "pause"} />
        <span>${isPaused ? "Go on" : "Pause"}</span>
      </button>
      <button type="button" onClick=${() => onClose("")}>
        <${Icon} name="close" /><span>Discard</span>
      </button>
    </div>
  </div>`;
}

function explained(error) {
  if (error.name === "NotFoundError") return "There is no microphone.";
  if (error.name === "NotAllowedError")
    return "The browser does not let this page use the microphone: allow it and try again.";
  return `The microphone cannot be used: ${error.message}`;
}
