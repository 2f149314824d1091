// The score on the page: it follows the playback, and leads to a note that is clicked.
import { longest } from "./notes.js";
import { ScoreFollower } from "./score_follower.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";

const WAIT_MS = 400; // more corrections may come
const STEP_PX = 40; // narrower or wider by less, a score is scaled
const [NARROWEST, WIDEST] = [240, 2000];
const AHEAD = "100%"; // of the height that is seen, pages are there before

export function ScoreView({ recording, player, options, isOffered, isShown, say }) {
  const box = useRef();
  const follower = useRef();
  const [width, setWidth] = useState(0);
  const [score, setScore] = useState(null);
  const [error, setError] = useState("");
  const [isDrawing, setDrawing] = useState(false);
  const isDone = recording.status === "done";
  const isWanted = isOffered && isShown && isDone && width > 0;

  useLayoutEffect(() => {
    const sizes = new ResizeObserver(() => {
      const { clientWidth } = box.current;
      const fitting = Math.floor(clientWidth / STEP_PX) * STEP_PX;
      if (clientWidth) setWidth(Math.max(NARROWEST, Math.min(fitting, WIDEST)));
    });
    sizes.observe(box.current);
    return () => sizes.disconnect();
  }, []);

  useEffect(() => {
    if (!isWanted) return undefined;
    let isOld = false;
    setDrawing(true);
    const draw = async () => {
      try {
        const drawn = await recording.score(width);
        if (isOld) return;
        setScore(withNotes(drawn));
        setError("");
        say("The score is drawn.");
      } catch (failure) {
        if (!isOld) setError(failure.message);
      }
      if (!isOld) setDrawing(false);
    };
    const timer = setTimeout(draw, score ? WAIT_MS : 0);
    return () => {
      isOld = true;
      clearTimeout(timer);
    };
  }, [recording, recording.notes, recording.beats, width, isWanted]);

  useLayoutEffect(() => {
    follower.current = new ScoreFollower(box.current, player);
    let request = requestAnimationFrame(function frame() {
      request = requestAnimationFrame(frame);
      follower.current.update();
    });
    return () => cancelAnimationFrame(request);
  }, [player]);
  useLayoutEffect(() => {
    Object.assign(follower.current, { isFollowing: options.follow, isShown });
    follower.current.setScore(score);
  }, [score, options.follow, isShown]);

  const line = stateLine({ isOffered, isDone, isDrawing, score });
  return html`<div class="score-view">
    ${error && html`<p class="error" role="alert">${error}</p>`}
    <p class="score-line">${line}</p>
    <div
      ref=${box}
      class="sheet"
      role="region"
      tabindex="0"
      aria-label="Score"
      aria-describedby="score-help"
      aria-busy=${String(isDrawing)}
      hidden=${!isOffered}
      onClick=${(event) => follower.current.click(event)}
      onKeyDown=${(event) => follower.current.press(event) && event.preventDefault()}
    >
      ${score?.pages.map(
        (page, number) => html`<${Page}
          key=${number}
          ...${{ score, page, number, box }}
          onDrawn=${() => follower.current.refresh()}
        />`,
      )}
    </div>
    <p class="hidden" id="score-help">
      The left and right arrow keys go from note to note, the space bar plays.
    </p>
  </div>`;
}

function stateLine({ isOffered, isDone, isDrawing, score }) {
  if (!isOffered)
    return html`Sheet music needs <code>mt3x serve</code> with one more extra:
      <code>pip install "mt3x[serve,score]"</code>`;
  if (!isDone) return "The score is drawn when all has been heard.";
  if (!score) return isDrawing ? "Drawing the score" : "";
  return `${score.key}, ${score.meter}, ${score.bpm} beats a minute`;
}

// Returns a score with all its notes in the order of time.
function withNotes(score) {
  const notes = score.pages
    .flatMap(({ notes: of }, page) =>
      of.map(([id, onset, offset]) => ({ id, onset, offset, page })),
    )
    .sort((a, b) => a.onset - b.onset);
  return { ...score, notes, longest: longest(notes) };
}

// A page that is fetched when it is about to be seen. Until then, or until the next
// version of it has come, there is what was there.
function Page({ score, page, number, box, onDrawn }) {
  const holder = useRef();
  useEffect(() => {
    let isOld = false;
    const show = async () => {
      const text = await score.picture(number);
      if (isOld) return;
      holder.current.replaceChildren(pictureOf(text, number, score));
      onDrawn();
    };
    const seen = new IntersectionObserver(
      (entries) => {
        if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
        seen.disconnect();
        show().catch(() => {}); // it was drawn anew meanwhile
      },
      { root: box.current, rootMargin: AHEAD },
    );
    seen.observe(holder.current);
    return () => {
      isOld = true;
      seen.disconnect();
    };
  }, [score]);
  return html`<div
    ref=${holder}
    class="sheet-page"
    data-page=${number}
    style=${{ aspectRatio: `${page.width} / ${page.height}` }}
  ></div>`;
}

function pictureOf(text, number, { pages }) {
  const parsed = new DOMParser().parseFromString(text, "image/svg+xml");
  const picture = document.importNode(parsed.documentElement, true);
  const { width, height } = pages[number];
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `Page ${number + 1} of ${pages.length}`);
  return picture;
}
