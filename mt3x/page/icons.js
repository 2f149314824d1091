// Icons, drawn on a grid of 24; they say nothing to screen readers.
import { html } from "./vendor/preact.js";

const PATHS = {
  play: "M8 5.5v13a1 1 0 0 0 1.53.85l10.2-6.5a1 1 0 0 0 0-1.7L9.53 4.65A1 1 0 0 0 8 5.5z",
  pause: "M7 4.5h3.2v15H7zM13.8 4.5H17v15h-3.2z",
  stop: "M6.5 6.5h11v11h-11z",
  record: "M12 5.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13z",
};
const LINES = {
  upload: "M12 16V4m0 0L7 9m5-5 5 5M4.5 15.5v2a2.5 2.5 0 0 0 2.5 2.5h10a2.5 2.5 0 0 0 2.5-2.5v-2",
  download: "M12 4v12m0 0 5-5m-5 5-5-5M4.5 19.5h15",
  microphone: "M12 3.5a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0v-5a3 3 0 0 0-3-3zM5.5 11a6.5 6.5 0 0 0 13 0M12 17.5V21",
  pencil: "m4.5 19.5 1-4.2L16.2 4.6a1.6 1.6 0 0 1 2.3 0l.9.9a1.6 1.6 0 0 1 0 2.3L8.7 18.5z",
  undo: "M8.5 14 4 9.5 8.5 5M4.5 9.5H14a5 5 0 0 1 0 10h-3",
  redo: "M15.5 14 20 9.5 15.5 5M19.5 9.5H10a5 5 0 0 0 0 10h3",
  bin: "M5 7h14M10 7V4.5h4V7m-7.5 0 .8 12h9.4l.8-12",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  close: "m6.5 6.5 11 11m0-11-11 11",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2m0 15v2M2.5 12h2m15 0h2M5.3 5.3l1.4 1.4m10.6 10.6 1.4 1.4m0-13.4-1.4 1.4M6.7 17.3l-1.4 1.4",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z",
  example: "M9 18V6l10-2v11.5M9 18a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0zm10-2.5a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0z",
  compose: "m11 4 1.9 6.1L19 12l-6.1 1.9L11 20l-1.9-6.1L3 12l6.1-1.9zM18.5 3.5v4m-2-2h4",
  fit: "M4.5 9V4.5H9M15 4.5h4.5V9M19.5 15v4.5H15M9 19.5H4.5V15",
  follow: "M4 12h11m0 0-4-4m4 4-4 4M19.5 5v14",
  sides: "M12 4v16M8.5 8 4.5 12l4 4m7-8 4 4-4 4",
  retry: "M19 12a7 7 0 1 1-2-4.9M19.5 3.5v4h-4",
};

export function Icon({ name }) {
  const isFilled = name in PATHS;
  return html`<svg
    class=${isFilled ? "icon filled" : "icon"}
    viewBox="0 0 24 24"
    aria-hidden="true"
  >
    <path d=${PATHS[name] ?? LINES[name]} />
  </svg>`;
}

// A button that shows an icon only; its name is its label and its hint.
export const IconButton = ({ name, label, ...rest }) => html`<button
  type="button"
  class="icon-button"
  aria-label=${label}
  title=${label}
  ...${rest}
>
  <${Icon} name=${name} />
</button>`;
