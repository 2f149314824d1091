// The constant-Q spectrogram in decibels, as mt3x/models/features.py computes it for
// piano models: one Fourier transform of a window of samples, cut for each octave at its
// own Nyquist frequency, and kernels that are correlated with each octave's samples.
import { FFT } from "../vendor/fft.js";

// Of a bin: correlations of this many frames are computed side by side.
const AT_ONCE = 4;

export class LogCqt {
  // config: the fields of `CQTConfig`.
  constructor(config) {
    this.config = config;
    this.bands = makeBands(config);
    this.transforms = new Map(); // by size
  }

  // Returns the features of samples (Float32Array) as a Float32Array TxF, T = the
  // number of whole hops: frame t is centred on sample t * hop.
  features(samples) {
    const { hop_samples: hop, num_bins: numBins, floor, range_db } = this.config;
    const numFrames = Math.floor(samples.length / hop);
    const magnitudes = this.magnitudes(samples, numFrames + 1);
    let peak = -Infinity;
    for (let i = 0; i < magnitudes.length; i += 1) {
      magnitudes[i] = 10 * Math.log10(Math.max(magnitudes[i], floor));
      peak = Math.max(peak, magnitudes[i]);
    }
    const features = new Float32Array(numFrames * numBins);
    for (let i = 0; i < features.length; i += 1)
      features[i] = Math.max(magnitudes[i], peak - range_db);
    return features;
  }

  magnitudes(samples, numFrames) {
    const { hop_samples: hop, num_bins: numBins } = this.config;
    const pad = -this.bands[0].first * this.bands[0].decimation;
    const needed = samples.length + 2 * pad + hop;
    const size = 2 ** Math.ceil(Math.log2(needed));
    const padded = reflected(samples, pad, size);
    const spectrum = this.spectrum(padded);
    const magnitudes = new Float64Array(numFrames * numBins);
    for (const band of this.bands) {
      const { decimation, first, kernels } = band;
      const heard = decimation === 1 ? padded : this.cut(spectrum, size / decimation);
      const begin = pad / decimation + first;
      const frames = { begin, hop: hop / decimation, num: numFrames };
      for (const kernel of kernels)
        correlate(heard, frames, kernel, magnitudes, numBins);
    }
    return magnitudes;
  }

  // The spectrum as pairs of real and imaginary parts.
  spectrum(samples) {
    const spectrum = new Float64Array(2 * samples.length);
    this.transform(samples.length).realTransform(spectrum, samples);
    return spectrum;
  }

  // Returns `size` samples of what lies below their Nyquist frequency, at their rate.
  cut(spectrum, size) {
    const whole = spectrum.length / 2;
    const kept = new Float64Array(2 * size);
    kept.set(spectrum.subarray(0, size + 2));
    kept[1] = kept[size + 1] = 0; // of a real signal
    const transform = this.transform(size);
    transform.completeSpectrum(kept);
    const signal = new Float64Array(2 * size);
    transform.inverseTransform(signal, kept);
    const samples = new Float64Array(size);
    for (let i = 0; i < size; i += 1) samples[i] = (signal[2 * i] * size) / whole;
    return samples;
  }

  transform(size) {
    if (!this.transforms.has(size)) this.transforms.set(size, new FFT(size));
    return this.transforms.get(size);
  }
}

// Returns bands of adjacent bins that are analysed at one rate, from the lowest up.
function makeBands(config) {
  const { sample_rate_hz: rate, hop_samples: hop, num_bins: numBins } = config;
  const quality = 1 / (2 ** (1 / config.bins_per_octave) - 1);
  const mostOctaves = Math.log2(hop & -hop);
  const bands = new Map(); // by decimation
  for (let bin = 0; bin < numBins; bin += 1) {
    const hz = config.fmin_hz * 2 ** (bin / config.bins_per_octave);
    const length = Math.ceil((quality * rate) / hz);
    // As in Python, 3.5 samples at least for a period.
    const octaves = Math.floor(Math.log2(rate / (3.5 * hz)));
    const decimation = 2 ** Math.max(0, Math.min(octaves, mostOctaves));
    if (!bands.has(decimation)) bands.set(decimation, []);
    bands.get(decimation).push({ bin, hz, length });
  }
  return [...bands].map(([decimation, bins]) => {
    const longest = Math.max(...bins.map(({ length }) => Math.floor(length / 2)));
    const half = Math.ceil((longest + 1) / decimation);
    const kernels = bins.map((found) => makeKernel(found, decimation, half, rate));
    return { decimation, first: -half, kernels };
  });
}

// Returns the kernel of a bin where it is not 0: taps from `from` on, counted from
// `half` samples (of the band's rate) before a frame's centre.
function makeKernel({ bin, hz, length }, decimation, half, rate) {
  const start = -Math.floor(length / 2) - (length % 2);
  const from = Math.max(0, Math.ceil(start / decimation) + half);
  const real = [];
  const imaginary = [];
  for (let tap = from; tap <= 2 * half; tap += 1) {
    const n = (tap - half) * decimation;
    if (n >= start + length) break;
    const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * (n - start)) / length);
    const gain = ((Math.sqrt(length) * 2) / length) * decimation * window;
    const phase = ((2 * Math.PI * hz) / rate) * n;
    real.push(gain * Math.cos(phase));
    imaginary.push(-gain * Math.sin(phase));
  }
  return {
    bin,
    from,
    real: Float64Array.from(real),
    imaginary: Float64Array.from(imaginary),
  };
}

// Writes the magnitudes of a bin in all frames. A sample meets several frames' sums
// while a tap is at hand: four times as fast as frame by frame.
function correlate(samples, { begin, hop, num }, kernel, magnitudes, numBins) {
  const { bin, from, real, imaginary } = kernel;
  const numTaps = real.length;
  for (let frame = 0; frame < num; frame += AT_ONCE) {
    let at0 = begin + from + frame * hop;
    // The last few frames may lie beyond: they are computed twice then.
    const step = (k) => Math.min(frame + k, num - 1) - frame;
    let at1 = at0 + step(1) * hop;
    let at2 = at0 + step(2) * hop;
    let at3 = at0 + step(3) * hop;
    let re0 = 0, re1 = 0, re2 = 0, re3 = 0;
    let im0 = 0, im1 = 0, im2 = 0, im3 = 0;
    for (let tap = 0; tap < numTaps; tap += 1) {
      const re = real[tap];
      const im = imaginary[tap];
      re0 += re * samples[at0];
      im0 += im * samples[at0];
      re1 += re * samples[at1];
      im1 += im * samples[at1];
      re2 += re * samples[at2];
      im2 += im * samples[at2];
      re3 += re * samples[at3];
      im3 += im * samples[at3];
      at0 += 1;
      at1 += 1;
      at2 += 1;
      at3 += 1;
    }
    magnitudes[frame * numBins + bin] = Math.sqrt(re0 * re0 + im0 * im0);
    magnitudes[(frame + step(1)) * numBins + bin] = Math.sqrt(re1 * re1 + im1 * im1);
    magnitudes[(frame + step(2)) * numBins + bin] = Math.sqrt(re2 * re2 + im2 * im2);
    magnitudes[(frame + step(3)) * numBins + bin] = Math.sqrt(re3 * re3 + im3 * im3);
  }
}

// Returns `size` samples, those given from `before` on, mirrored at both ends.
function reflected(samples, before, size) {
  const padded = new Float64Array(size);
  const period = Math.max(2 * (samples.length - 1), 1);
  for (let i = 0; i < size; i += 1) {
    const at = (((i - before) % period) + period) % period;
    padded[i] = samples[Math.min(at, period - at)];
  }
  return padded;
}
