// Sound files to samples, and samples to WAV.

export const MODEL_RATE_HZ = 16000;
// What browsers keep from pages that come by plain HTTP from another machine.
export const SECURE_ONLY = "browsers allow this over HTTPS or on this computer only";
// Longer ones are listened to as the model hears them, which takes a sixth of the memory.
const FULL_QUALITY_S = 900;

// Decodes a file: `samples` at 16 kHz, mono, for the model, and `sound`, an AudioBuffer
// to listen to. Throws a DOMException where the browser cannot read it.
export async function decode(file, listeningRateHz) {
  const bytes = await file.arrayBuffer();
  // decodeAudioData resamples with a proper filter; an AudioBufferSourceNode does not.
  const heard = await new OfflineAudioContext(1, 1, MODEL_RATE_HZ).decodeAudioData(
    bytes.slice(0),
  );
  const samples = mono(heard);
  const sound =
    heard.duration > FULL_QUALITY_S
      ? toBuffer(samples, MODEL_RATE_HZ)
      : await new OfflineAudioContext(1, 1, listeningRateHz).decodeAudioData(bytes);
  return { samples, sound };
}

function mono(buffer) {
  const mixed = buffer.getChannelData(0).slice();
  if (buffer.numberOfChannels === 1) return mixed;
  for (let channel = 1; channel < buffer.numberOfChannels; channel += 1) {
    const added = buffer.getChannelData(channel);
    for (let i = 0; i < mixed.length; i += 1) mixed[i] += added[i];
  }
  for (let i = 0; i < mixed.length; i += 1) mixed[i] /= buffer.numberOfChannels;
  return mixed;
}

function toBuffer(samples, sampleRate) {
  const buffer = new AudioBuffer({ length: samples.length, sampleRate });
  buffer.copyToChannel(samples, 0);
  return buffer;
}

// Returns 16-bit mono WAV.
export function toWav(samples, rateHz) {
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, letters) =>
    [...letters].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  const numBytes = samples.length * 2;
  text(0, "RIFF");
  header.setUint32(4, 36 + numBytes, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // channels
  header.setUint32(24, rateHz, true);
  header.setUint32(28, rateHz * 2, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  text(36, "data");
  header.setUint32(40, numBytes, true);
  const pcm = new Int16Array(samples.length); // little-endian on all that run browsers
  for (let i = 0; i < samples.length; i += 1) {
    // As Chromium reads 16 bits, so that they come back as they were.
    const scale = samples[i] < 0 ? 32768 : 32767;
    pcm[i] = Math.round(Math.max(-1, Math.min(1, samples[i])) * scale);
  }
  return new Blob([header, pcm], { type: "audio/wav" });
}
