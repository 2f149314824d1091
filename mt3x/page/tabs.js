// Tabs; one panel is shown.
import { html } from "./vendor/preact.js";

// tabs: [[key, label], ...]; `name` tells the tabs of one place from those of another.
export function Tabs({ name, label, tabs, shown, show }) {
  const onKeyDown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = tabs.findIndex(([key]) => key === shown);
    const [other] = tabs.at((at + step) % tabs.length);
    show(other);
    document.getElementById(`${name}-${other}`).focus();
  };
  return html`<div class="views" role="tablist" aria-label=${label} onKeyDown=${onKeyDown}>
    ${tabs.map(
      ([key, text]) => html`<button
        type="button"
        role="tab"
        id="${name}-${key}"
        aria-selected=${String(key === shown)}
        aria-controls="${name}-panel-${key}"
        tabindex=${key === shown ? 0 : -1}
        onClick=${() => show(key)}
      >
        ${text}
      </button>`,
    )}
  </div>`;
}

export const TabPanel = ({ name, tab, shown, children, ...rest }) => html`<div
  role="tabpanel"
  id="${name}-panel-${tab}"
  aria-labelledby="${name}-${tab}"
  hidden=${tab !== shown}
  ...${rest}
>
  ${children}
</div>`;
