// The microphone as PCM: MediaRecorder's WebM is lossy, and few programs read it.
import { SECURE_ONLY, toWav } from "./audio.js";

const NOTHING = new Float32Array(0);

// Starts listening. `onBlock(peak, seconds, samples, rateHz)` is called some twenty times
// a second; without samples while the recorder pauses.
// Throws a DOMException where there is no microphone or no leave to use it.
export async function startRecording(onBlock) {
  if (!navigator.mediaDevices) throw new Error(SECURE_ONLY);
  // What makes speech clear spoils music.
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { autoGainControl: false, echoCancellation: false, noiseSuppression: false },
  });
  const context = new AudioContext();
  const blocks = [];
  let numSamples = 0;
  let paused = false;
  try {
    await context.audioWorklet.addModule(
      new URL("./recorder_worklet.js", import.meta.url),
    );
  } catch (error) {
    await close();
    throw error;
  }
  const source = context.createMediaStreamSource(stream);
  const worklet = new AudioWorkletNode(context, "mt3x-recorder", {
    channelCount: 1,
    channelCountMode: "explicit",
    numberOfOutputs: 0,
  });
  worklet.port.onmessage = ({ data }) => {
    const peak = data.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    if (!paused) {
      blocks.push(data);
      numSamples += data.length;
    }
    const rateHz = context.sampleRate;
    onBlock(peak, numSamples / rateHz, paused ? NOTHING : data, rateHz);
  };
  source.connect(worklet);

  async function close() {
    for (const track of stream.getTracks()) track.stop();
    await context.close();
  }

  return {
    pause(value) {
      paused = value;
    },
    async stop() {
      const rateHz = context.sampleRate;
      await close();
      const samples = new Float32Array(numSamples);
      let at = 0;
      for (const block of blocks) {
        samples.set(block, at);
        at += block.length;
      }
      return new File([toWav(samples, rateHz)], recordingName(), { type: "audio/wav" });
    },
    cancel: close,
  };
}

function recordingName() {
  const now = new Date();
  const two = (number) => String(number).padStart(2, "0");
  const day = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
  return `Recording ${day} ${two(now.getHours())}.${two(now.getMinutes())}.wav`;
}
