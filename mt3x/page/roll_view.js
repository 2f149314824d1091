// The piano roll on the page: one canvas, its pointers and keys, and an overview.
import { IconButton } from "./icons.js";
import { HELP, pressKey } from "./roll_keys.js";
import { RollPointer } from "./roll_pointer.js";
import { Overview } from "./overview.js";
import { Roll } from "./roll.js";
import { Spectrogram } from "./spectrogram.js";
import { html, useEffect, useLayoutEffect, useRef } from "./vendor/preact.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");

export function RollView({ recording, player, selected, options, actions, children }) {
  const canvas = useRef();
  const overview = useRef();
  const state = useRef({});
  const now = state.current;
  Object.assign(now, { recording, player, options });
  now.chosen = recording.notes.filter(({ id }) => selected.has(id));

  // What gestures and keys end in.
  now.actions = {
    ...actions,
    redraw: () => (now.isStale = true),
    moved: () => {
      now.isStale = true;
      if (now.player.playing) actions.setOption("follow", false);
    },
    isEditing: () => now.options.editing,
    addAt: (onset) => {
      const pitch = now.chosen.at(-1)?.pitch ?? 60;
      const program = now.actions.program();
      const key = { pitch, velocity: 80, program, drum: false, confidence: null };
      now.actions.edit([], [{ ...key, onset, offset: onset + 0.2 }]);
    },
    program: () =>
      now.chosen.find(({ drum }) => !drum)?.program ??
      now.recording.notes.find(({ drum }) => !drum)?.program ??
      0,
  };

  useLayoutEffect(() => {
    const roll = new Roll(canvas.current);
    const strip = new Overview(overview.current, roll, (time) => now.actions.seek(time));
    Object.assign(now, { roll, strip });
    const resize = () => {
      if (!canvas.current.clientWidth) return; // another view is shown
      for (const part of [roll, strip]) {
        const { clientWidth, clientHeight } = part.canvas;
        part.resize(clientWidth, clientHeight, devicePixelRatio || 1);
      }
      now.isStale = true;
    };
    const sizes = new ResizeObserver(resize);
    sizes.observe(canvas.current);
    resize();
    const stopThemes = watchTheme(() => {
      roll.readTheme();
      now.isStale = true;
    });
    const proxy = new Proxy({}, { get: (_, name) => now.actions[name] });
    const stopPointer = new RollPointer(roll, proxy).listen(canvas.current);
    const stopStrip = strip.listen();
    let request = requestAnimationFrame(function frame() {
      request = requestAnimationFrame(frame);
      drawIfChanged(now);
    });
    return () => {
      cancelAnimationFrame(request);
      sizes.disconnect();
      stopThemes();
      stopPointer();
      stopStrip();
      now.roll = null;
    };
  }, []);

  useEffect(() => {
    const { roll } = now;
    if (!recording.samples) return undefined;
    const spectrogram = new Spectrogram(recording.samples, () => (now.isStale = true));
    roll.spectrogram = spectrogram;
    return () => {
      roll.spectrogram = null;
      spectrogram.close();
    };
  }, [recording, recording.samples]);

  useLayoutEffect(() => {
    const { roll } = now;
    roll.setNotes(recording.notes, options.candidates ? recording.candidates : []);
    roll.duration = recording.duration;
    roll.pedal = recording.pedal;
    roll.selected = selected;
    roll.colorBy = options.colorBy;
    roll.showSpectrogram = options.spectrogram;
    roll.isAudible = (part) => player.isAudible(part);
    // The first notes and the last word decide what is shown.
    const fitted = `${recording.status === "done"} ${recording.notes.length > 0}`;
    if (now.fitted !== fitted || now.fittedFor !== recording) {
      roll.fit();
      Object.assign(now, { fitted, fittedFor: recording });
    }
    now.isStale = true;
  });

  const onKeyDown = (event) => {
    const { roll, chosen } = now;
    const context = { roll, recording, player, chosen, actions: now.actions };
    if (pressKey(event, context)) event.preventDefault();
  };

  return html`
    <canvas
      ref=${canvas}
      class=${options.editing ? "roll editing" : "roll"}
      role="application"
      tabindex="0"
      aria-label="Piano roll"
      aria-describedby="roll-help"
      onKeyDown=${onKeyDown}
    ></canvas>
    ${children}
    <div class="roll-foot">
      <canvas ref=${overview} class="overview" aria-hidden="true"></canvas>
      <${ZoomButtons} now=${state} />
    </div>
    <p class="hidden" id="roll-help">
      N and P go from note to note, the space bar plays. More below.
    </p>
    <details class="help">
      <summary>Keys and gestures</summary>
      <dl>
        ${HELP.map(
          ([keys, what]) => html`<div>
            <dt><kbd>${keys}</kbd></dt>
            <dd>${what}</dd>
          </div>`,
        )}
        <div>
          <dt>Wheel, pinch</dt>
          <dd>zoom in time; with Shift scroll, with Alt zoom in pitch</dd>
        </div>
        <div>
          <dt>Drag</dt>
          <dd>look around; with Shift select</dd>
        </div>
      </dl>
    </details>
  `;
}

// Calls back whenever theme.js or a reader has set another theme.
export function watchTheme(changed) {
  const themes = new MutationObserver(changed);
  themes.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  return () => themes.disconnect();
}

function ZoomButtons({ now }) {
  const act = (how) => () => {
    how(now.current.roll);
    now.current.isStale = true;
  };
  const buttons = [
    ["minus", "Zoom out", (roll) => roll.zoomTime(1 / 1.4)],
    ["plus", "Zoom in", (roll) => roll.zoomTime(1.4)],
    ["fit", "Show what fits", (roll) => roll.fit()],
  ];
  return buttons.map(
    ([name, label, how]) =>
      html`<${IconButton} name=${name} label=${label} onClick=${act(how)} />`,
  );
}

function drawIfChanged(now) {
  const { roll, strip, player, options } = now;
  const isMoving = player.playing || roll.position !== player.position;
  if (!isMoving && !now.isStale && roll.playing === player.playing) return;
  roll.position = player.position;
  if (isMoving && options.follow) roll.follow(player.playing && !calm.matches);
  roll.playing = player.playing;
  roll.draw();
  strip.draw();
  now.isStale = false;
}
