// Plays a recording and its transcription in step, on the clock of one AudioContext.
import { partOf } from "./instruments.js";
import { firstFrom } from "./notes.js";
import { Stretcher, hopSeconds } from "./stretch.js";
import { Synth } from "./synth.js";

// Notes are handed to the synthesizer this long before they sound. The timers of hidden
// pages run once a second only.
const AHEAD_S = 0.15;
const HIDDEN_AHEAD_S = 1.5;
const TICK_MS = 40;
const CHUNK_HOPS = 16;
// FluidR3's piano lies well below a recording at full scale.
const SYNTH_GAIN = 2.2;

export class Player {
  #synth = null; // promise
  #listeners = new Set();
  #timer = 0;
  #sources = new Set();
  #ringing = []; // notes that sound: {note, offset}
  #lastNoteAt = 0; // time of the context up to which the synthesizer has notes

  ready = null; // the synthesizer, once it is there
  playing = false;
  error = "";
  speed = 1;
  balance = 0.5; // 0: the original alone, 1: the transcription alone
  sides = false; // original left, transcription right
  muted = new Set();
  soloed = new Set();

  constructor() {
    this.context = new AudioContext();
    this.sound = null;
    this.duration = 0;
    this.notes = [];
    this.pedal = []; // when it is down: {down, up}
    this.at = 0; // position while nothing plays
    this.analyser = new AnalyserNode(this.context, { fftSize: 1024 });
    this.analyser.connect(this.context.destination);
    this.original = this.#strip();
    this.transcription = this.#strip();
    this.gate = new GainNode(this.context); // shut while notes are left over
    this.gate.connect(this.transcription.gain);
    this.applyBalance();
  }

  #strip() {
    const gain = new GainNode(this.context);
    const pan = new StereoPannerNode(this.context);
    gain.connect(pan).connect(this.analyser);
    return { gain, pan };
  }

  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #changed() {
    for (const listener of this.#listeners) listener();
  }

  // Takes another recording; `sound` is null where the browser cannot read it.
  load(sound) {
    this.pause();
    this.sound = sound;
    this.duration = sound?.duration ?? 0;
    this.notes = [];
    this.pedal = [];
    this.at = 0;
    this.muted.clear();
    this.soloed.clear();
    this.applyBalance();
  }

  // Notes may change while they play: sliders, edits, parts that arrive.
  async setNotes(notes, duration, pedal = []) {
    this.notes = notes;
    this.pedal = pedal;
    this.duration = duration;
    // Sounds are fetched before they are wanted. Whoever plays is told of a failure.
    if (notes.length) await this.#prepared().catch(() => {});
  }

  get parts() {
    return [...new Set(this.notes.map(partOf))].sort((a, b) => Number(a) - Number(b));
  }

  async #prepared() {
    this.#synth ??= this.#makeSynth();
    this.#synth.catch(() => (this.#synth = null)); // the next time may be luckier
    const synth = await this.#synth;
    const parts = this.parts;
    if (parts.some((part) => !synth.channels.has(part))) {
      await synth.prepare(parts);
      this.applyParts();
    }
    return synth;
  }

  async #makeSynth() {
    const level = new GainNode(this.context, { gain: SYNTH_GAIN });
    level.connect(this.gate);
    const synth = await Synth.create(this.context, level);
    this.ready = synth;
    return synth;
  }

  // Where the listener is, in seconds of the recording.
  get position() {
    if (!this.playing) return this.at;
    const heard = this.context.currentTime - (this.context.outputLatency || 0);
    return Math.max(this.from, Math.min(this.#pieceTime(heard), this.duration));
  }

  #pieceTime = (time) => this.from + (time - this.startedAt) * this.speed;
  #contextTime = (time) => this.startedAt + (time - this.from) / this.speed;

  async play() {
    if (this.playing || !this.duration) return;
    this.playing = true;
    this.from = this.at >= this.duration - 0.01 ? 0 : this.at;
    this.startedAt = Infinity; // until it starts, it stands
    this.#changed();
    await this.context.resume();
    try {
      await this.#prepared();
      this.error = "";
    } catch (error) {
      // The original plays without them.
      this.error = `The notes make no sound: ${error.message}`;
    }
    if (this.playing && this.startedAt === Infinity) this.#start();
  }

  #start() {
    const { context } = this;
    const soon = Math.max(context.currentTime + 0.05, this.#lastNoteAt + 0.02);
    // On a sample, so that chunks of sound join without a click.
    this.startedAt = Math.ceil(soon * context.sampleRate) / context.sampleRate;
    this.ready?.silence(this.startedAt - 0.01);
    const isDown = this.pedal.some(({ down, up }) => down < this.from && this.from < up);
    this.ready?.setPedal(isDown, this.startedAt - 0.005);
    this.#openGate(this.startedAt - 0.005);
    this.scheduledTo = this.from;
    this.#ringing = [];
    this.stretcher = null;
    if (this.sound && this.speed === 1)
      this.#playBuffer(this.sound, this.startedAt, this.from);
    else if (this.sound) {
      this.stretcher = new Stretcher(this.sound, this.from, this.speed);
      this.chunkAt = this.startedAt;
    }
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#tick();
  }

  #playBuffer(buffer, when, offset) {
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.original.gain);
    source.onended = () => this.#sources.delete(source);
    if (offset < buffer.duration) source.start(when, offset);
    this.#sources.add(source);
  }

  #tick() {
    const { context } = this;
    const ahead = document.hidden ? HIDDEN_AHEAD_S : AHEAD_S;
    const horizon = context.currentTime + ahead;
    while (this.stretcher && !this.stretcher.ended && this.chunkAt < horizon + 0.2) {
      this.#playBuffer(this.stretcher.next(CHUNK_HOPS), this.chunkAt, 0);
      this.chunkAt += CHUNK_HOPS * hopSeconds(this.sound);
    }
    if (this.ready) this.#scheduleNotes(this.#pieceTime(horizon));
    if (this.position >= this.duration) {
      this.pause();
      this.at = this.duration;
      this.#changed();
    }
  }

  #scheduleNotes(until) {
    const synth = this.ready;
    for (
      let i = firstFrom(this.notes, this.scheduledTo);
      i < this.notes.length && this.notes[i].onset < until;
      i += 1
    ) {
      const note = this.notes[i];
      // A key that is struck again first comes up.
      this.#release(({ note: other }) => {
        return other.pitch === note.pitch && partOf(other) === partOf(note);
      }, note.onset);
      synth.noteOn(note, this.#contextTime(note.onset));
      this.#ringing.push({ note, offset: note.offset });
    }
    this.#release(({ offset }) => offset < until);
    const isNew = (time) => this.scheduledTo <= time && time < until;
    for (const { down, up } of this.pedal) {
      if (isNew(down)) synth.setPedal(true, this.#contextTime(down));
      if (isNew(up)) synth.setPedal(false, this.#contextTime(up));
    }
    this.scheduledTo = Math.max(this.scheduledTo, until);
    this.#lastNoteAt = this.#contextTime(this.scheduledTo);
  }

  #release(wanted, latest = Infinity) {
    this.#ringing = this.#ringing.filter((ringing) => {
      if (!wanted(ringing)) return true;
      const offset = Math.min(ringing.offset, latest - 0.002);
      this.ready.noteOff(ringing.note, this.#contextTime(offset));
      return false;
    });
  }

  pause() {
    if (!this.playing) return;
    this.at = this.startedAt === Infinity ? this.from : this.position;
    this.playing = false;
    clearInterval(this.#timer);
    for (const source of this.#sources) source.stop();
    this.#sources.clear();
    this.gate.gain.cancelScheduledValues(0);
    this.gate.gain.setTargetAtTime(0, this.context.currentTime, 0.01);
    this.#changed();
  }

  #openGate(time) {
    this.gate.gain.cancelScheduledValues(0);
    this.gate.gain.setValueAtTime(1, time);
  }

  seek(time) {
    const { playing } = this;
    this.pause();
    this.at = Math.max(0, Math.min(time, this.duration));
    if (playing) this.play();
    else this.#changed();
  }

  setSpeed(speed) {
    const { playing } = this;
    this.pause();
    this.speed = speed;
    if (playing) this.play();
    else this.#changed();
  }

  applyBalance() {
    // Notes without an original are all that is heard.
    const { balance, sides } = this.sound ? this : { balance: 1, sides: false };
    const now = this.context.currentTime;
    const set = (param, value) => param.setTargetAtTime(value, now, 0.015);
    set(this.original.gain.gain, Math.cos((balance * Math.PI) / 2));
    set(this.transcription.gain.gain, Math.sin((balance * Math.PI) / 2));
    set(this.original.pan.pan, sides ? -1 : 0);
    set(this.transcription.pan.pan, sides ? 1 : 0);
    this.#changed();
  }

  isAudible(part) {
    return this.soloed.size ? this.soloed.has(part) : !this.muted.has(part);
  }

  applyParts() {
    for (const part of this.ready?.channels.keys() ?? [])
      this.ready.setAudible(part, this.isAudible(part));
    this.#changed();
  }

  // Sounds one note now, as an answer to a touch.
  async preview(note) {
    if (this.playing) return;
    await this.context.resume();
    const synth = await this.#prepared().catch(() => null); // playing tells why
    if (!synth) return;
    const now = Math.max(this.context.currentTime, this.#lastNoteAt) + 0.01;
    this.#openGate(now);
    synth.setPedal(false, now);
    synth.noteOn(note, now);
    synth.noteOff(note, now + 0.35);
  }

  // The loudness of what is heard, 0 to 1 over 60 dB.
  level() {
    const samples = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
    return Math.max(0, Math.min(1, 1 + Math.log10(power + 1e-12) / 6));
  }
}
