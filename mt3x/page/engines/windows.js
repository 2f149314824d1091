// Cutting samples into overlapping windows, and joining the rolls that they become, as
// mt3x/inference/windows.py does.

// Yields {samples, numFrames, firstFrame, isLast} of samples (Float32Array).
// config: the fields of `WindowConfig`.
export function* cutWindows(samples, hop, config) {
  const length = config.num_frames * hop;
  const stride = length - overlapFrames(config) * hop;
  let at = 0;
  for (; samples.length > at + length; at += stride)
    yield {
      samples: samples.slice(at, at + length),
      numFrames: config.num_frames,
      firstFrame: at / hop,
      isLast: false,
    };
  const totalFrames = Math.ceil(samples.length / hop);
  if (totalFrames === 0) return;
  const sizes = [...config.short_frames, config.num_frames].sort((a, b) => a - b);
  const size = sizes.find((frames) => frames >= totalFrames) ?? config.num_frames;
  const firstFrame = Math.max(totalFrames - size, 0);
  yield {
    samples: mirrored(samples.subarray(firstFrame * hop), size * hop),
    numFrames: Math.min(totalFrames, size),
    firstFrame,
    isLast: true,
  };
}

const overlapFrames = ({ context_frames, fade_frames }) =>
  2 * context_frames + fade_frames;

// Returns `size` samples: after the end their mirror image, to and fro.
function mirrored(samples, size) {
  const period = Math.max(2 * (samples.length - 1), 1);
  return Float32Array.from({ length: size }, (_, i) => {
    const at = i % period;
    return samples[Math.min(at, period - at)];
  });
}

// Joins the rolls of consecutive windows into those of the recording.
export class Stitcher {
  // width: of a row.
  constructor(config, width) {
    this.config = config;
    this.width = width;
    this.tail = null; // the last window's rows over the seam to come
    this.seamFrame = 0; // where that begins
  }

  // Takes a window's rolls by name (Float32Array TxP) and returns the recording's next
  // rows, now final.
  push({ firstFrame, numFrames, isLast }, rolls) {
    const { context_frames: context, fade_frames: fade } = this.config;
    const begin = (this.seamFrame - firstFrame) * this.width;
    const end = numFrames - (isLast ? 0 : context + fade);
    const finished = {};
    const tail = {};
    for (const [name, roll] of Object.entries(rolls)) {
      const rows = roll.slice(begin, end * this.width);
      if (this.tail) crossfade(this.tail[name], rows, this.width);
      finished[name] = rows;
      tail[name] = roll.slice(end * this.width, (end + fade) * this.width);
    }
    if (!isLast) {
      this.tail = tail;
      this.seamFrame = firstFrame + end;
    }
    return finished;
  }
}

// Turns the first rows, in place, from those of the window before to their own.
function crossfade(before, rows, width) {
  const fade = before.length / width;
  for (let i = 0; i < before.length; i += 1) {
    const weight = (Math.floor(i / width) + 0.5) / fade;
    rows[i] += (1 - weight) * (before[i] - rows[i]);
  }
}
