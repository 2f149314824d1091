// Spectra for the background of the piano roll: two rows a semitone, A0 to C8.
import { FFT } from "./vendor/fft.js";

const SIZE = 4096;
const LOWEST_PITCH = 21;
const NUM_ROWS = 176;
const FLOOR_DB = -52; // below the loudest sample of the recording

const fft = new FFT(SIZE);
const spectrum = fft.createComplexArray();
const windowed = new Float32Array(SIZE);
const hann = Float32Array.from(
  { length: SIZE },
  (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / SIZE),
);

// {id, samples, hop, columns, rateHz, peak}: `samples` begin half a window before the
// first column. Answers {id, levels}: rows from the top, each of `columns` bytes.
onmessage = ({ data: { id, samples, hop, columns, rateHz, peak } }) => {
  const levels = new Uint8Array(NUM_ROWS * columns);
  const magnitudes = new Float32Array(SIZE / 2 + 1);
  const full = (peak * SIZE) / 4; // what a sine of the peak's height gives
  const bins = Array.from({ length: NUM_ROWS + 1 }, (_, row) => {
    const pitch = LOWEST_PITCH - 0.5 + row / 2;
    return (440 * 2 ** ((pitch - 69) / 12) * SIZE) / rateHz;
  });
  for (let column = 0; column < columns; column += 1) {
    for (let i = 0; i < SIZE; i += 1)
      windowed[i] = hann[i] * (samples[column * hop + i] ?? 0);
    fft.realTransform(spectrum, windowed);
    for (let bin = 0; bin <= SIZE / 2; bin += 1)
      magnitudes[bin] = Math.hypot(spectrum[2 * bin], spectrum[2 * bin + 1]);
    for (let row = 0; row < NUM_ROWS; row += 1) {
      const decibels = 20 * Math.log10(most(magnitudes, bins[row], bins[row + 1]) / full);
      const level = Math.max(0, Math.min(1, 1 - decibels / FLOOR_DB));
      levels[(NUM_ROWS - 1 - row) * columns + column] = 255 * level ** 1.5;
    }
  }
  postMessage({ id, levels }, [levels.buffer]);
};

// The largest magnitude between two places on the axis of bins, with interpolation.
function most(magnitudes, low, high) {
  const at = (place) => {
    const bin = Math.floor(place);
    return magnitudes[bin] + (place - bin) * (magnitudes[bin + 1] - magnitudes[bin]);
  };
  let found = Math.max(at(low), at(high), 1e-9);
  for (let bin = Math.ceil(low); bin <= high; bin += 1)
    found = Math.max(found, magnitudes[bin]);
  return found;
}
