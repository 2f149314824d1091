// The notes as a table, for screen readers and for those who like numbers.
import { noteName, partName, partOf } from "./instruments.js";
import { html, useState } from "./vendor/preact.js";

const ROWS = 50;

export function NoteTable({ recording, selected, onChoose }) {
  const [isOpen, setOpen] = useState(false);
  const [wanted, setPage] = useState(0);
  const { notes } = recording;
  const numPages = Math.max(1, Math.ceil(notes.length / ROWS));
  const page = Math.min(wanted, numPages - 1);
  const first = page * ROWS;
  const shown = notes.slice(first, first + ROWS);
  return html`<details
    class="table panel"
    onToggle=${({ target }) => setOpen(target.open)}
  >
    <summary>Notes as a table <span class="count">${notes.length}</span></summary>
    ${isOpen &&
    html`<div class="scroll" tabindex="0" role="region" aria-label="Notes">
        <table>
          <caption class="hidden">
            Notes ${first + 1} to ${first + shown.length} of ${notes.length}
          </caption>
          <thead>
            <tr>
              ${["Note", "Start", "Length", "Velocity", "Instrument", "Confidence"].map(
                (name) => html`<th scope="col">${name}</th>`,
              )}
            </tr>
          </thead>
          <tbody>
            ${shown.map(
              (note) => html`<tr key=${note.id} class=${selected.has(note.id) ? "on" : ""}>
                <th scope="row">
                  <button type="button" class="quiet" onClick=${() => onChoose(note)}>
                    ${noteName(note)}
                  </button>
                </th>
                <td>${note.onset.toFixed(2)} s</td>
                <td>${(note.offset - note.onset).toFixed(2)} s</td>
                <td>${note.velocity}</td>
                <td>${partName(partOf(note))}</td>
                <td>
                  ${note.confidence === null ? "–" : `${Math.round(note.confidence * 100)} %`}
                </td>
              </tr>`,
            )}
          </tbody>
        </table>
      </div>
      <p class="pages">
        <button type="button" disabled=${page === 0} onClick=${() => setPage(page - 1)}>
          Previous
        </button>
        <span>${page + 1} of ${numPages}</span>
        <button
          type="button"
          disabled=${page >= numPages - 1}
          onClick=${() => setPage(page + 1)}
        >
          Next
        </button>
      </p>`}
  </details>`;
}
