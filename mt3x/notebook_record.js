// Records from the microphone and returns a mono 16-bit WAV file in base64, or, where
// that is not possible, a sentence that says why.
async (seconds, rate) => {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: {
      autoGainControl: false, echoCancellation: false, noiseSuppression: false } });
  } catch (error) {
    return `${error.message} (${error.name})`;
  }
  const recorder = new MediaRecorder(stream), parts = [];
  const button = document.createElement('button');
  button.textContent = 'Stop';
  button.onclick = () => recorder.stop();
  (document.querySelector('#output-area') || document.body).append(button);
  const ended = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.start();
  const timer = setTimeout(() => recorder.stop(), 1000 * seconds);
  await ended;
  clearTimeout(timer);
  button.remove();
  stream.getTracks().forEach((track) => track.stop());
  // Browsers record as WebM or MP4: decoded here, it can be read everywhere.
  const context = new OfflineAudioContext(1, 1, rate);
  const sound = await context.decodeAudioData(await new Blob(parts).arrayBuffer());
  const wav = new DataView(new ArrayBuffer(44 + 2 * sound.length));
  const text = (place, letters) =>
    [...letters].forEach((x, k) => wav.setUint8(place + k, x.charCodeAt(0)));
  text(0, 'RIFF');
  wav.setUint32(4, 36 + 2 * sound.length, true);
  text(8, 'WAVEfmt ');
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, rate, 4], [28, 2 * rate, 4], [32, 2, 2],
    [34, 16, 2], [40, 2 * sound.length, 4]].forEach(([place, value, bytes]) =>
    bytes === 4 ? wav.setUint32(place, value, true) : wav.setUint16(place, value, true));
  text(36, 'data');
  const channels = [...Array(sound.numberOfChannels).keys()].map((c) =>
    sound.getChannelData(c));
  for (let k = 0; k < sound.length; k++) {
    const mean = channels.reduce((sum, samples) => sum + samples[k], 0) / channels.length;
    const limited = Math.max(-1, Math.min(1, mean));
    wav.setInt16(44 + 2 * k, Math.round(32767 * limited), true);
  }
  let bytes = '';
  new Uint8Array(wav.buffer).forEach((byte) => { bytes += String.fromCharCode(byte); });
  return btoa(bytes);
}
