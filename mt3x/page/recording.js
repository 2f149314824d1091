// A recording on the page: from the file to the corrected notes.
import { decode, toWav, MODEL_RATE_HZ } from "./audio.js";
import { NO_EDITS, bare, corrected, received, withChange, without } from "./notes.js";

export class Recording {
  // reading -> sending -> queued -> working -> done, or failed
  status = "reading";
  error = "";
  warnings = [];
  place = 0;
  seconds = 0;
  duration = 0;
  samples = null; // 16 kHz mono
  sound = null; // AudioBuffer
  // Beats of files and scores: "detect", "even" with `bpm` a minute, or "none"; and a
  // time signature, or "" where it is detected.
  beats = Object.freeze({ tempo: "detect", bpm: 120, meter: "" });
  // When the sustain pedal is down: [{down, up}, ...]. Notes end with their keys then;
  // null where the pedal is in their lengths.
  pedal = null;
  wish = null; // what it was composed for
  thresholds = null; // those in use; null where the model has none
  defaults = null;
  #decoded = [];
  #candidates = [];
  #edits = NO_EDITS;
  #past = [];
  #future = [];
  #job = null;
  #closed = false;
  #usual = null; // thresholds of an engine that names none for a recording
  #decoding = null;
  #written = []; // the notes as engines take them ...
  #writtenFor = null; // ... made of these

  // options: those of an engine's `transcribe`.
  constructor(file, options, changed) {
    this.file = file;
    this.name = file.name;
    this.options = options;
    this.changed = () => {
      if (!this.#closed) changed(this);
    };
    this.notes = [];
    this.candidates = [];
  }

  #apply() {
    this.notes = corrected(this.#decoded, this.#edits);
    this.candidates = without(this.#candidates, this.#edits.added);
    this.changed();
  }

  #become(status) {
    this.status = status;
    this.changed();
  }

  // Gives it to the engine. Never throws: it fails as a status.
  async start(engine, listeningRateHz) {
    if (this.#closed) return;
    try {
      this.#usual = engine.info().defaults ?? null;
      const heard = (event) => this.#heard(event);
      this.#job = await this.open(engine, listeningRateHz, heard);
      if (this.#closed) await this.#job?.close();
    } catch (error) {
      this.#fail(error.message);
    }
  }

  // Reads the file and returns the engine's job; null where it was closed meanwhile.
  async open(engine, listeningRateHz, onEvent) {
    const { maxMb, maxMinutes } = engine.info().limits;
    if (this.file.size > maxMb * 1e6)
      throw new Error(`${this.name} is larger than ${maxMb} MB`);
    let wav = this.file;
    try {
      const { samples, sound } = await decode(this.file, listeningRateHz);
      this.samples = samples;
      this.sound = sound;
      this.duration = samples.length / MODEL_RATE_HZ;
      wav = toWav(samples, MODEL_RATE_HZ);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      // Perhaps the engine knows more formats than the browser.
    }
    if (this.duration > maxMinutes * 60)
      throw new Error(`${this.name} is longer than ${maxMinutes} minutes`);
    if (this.#closed) return null;
    this.#become("sending");
    const { samples, name, options } = this;
    return engine.transcribe({ wav, samples, name, options }, onEvent);
  }

  // Returns the same, to be started anew.
  again(changed) {
    return new Recording(this.file, this.options, changed);
  }

  #fail(message) {
    this.error = message;
    this.#become("failed");
  }

  #heard(event) {
    if (event.type === "queued") {
      this.place = event.place;
      this.#become("queued");
    } else if (event.type === "progress") {
      this.seconds = event.seconds;
      this.duration ||= event.duration ?? 0;
      this.#become("working");
    } else if (event.type === "notes") {
      const known = new Set(this.#decoded.map(({ id }) => id));
      const arrived = received(event.notes).filter(({ id }) => !known.has(id));
      this.#decoded = [...this.#decoded, ...arrived];
      this.#apply();
    } else if (event.type === "done") {
      this.#decoded = received(event.notes);
      this.#candidates = received(event.candidates);
      this.defaults = "defaults" in event ? event.defaults : this.#usual;
      this.thresholds = this.defaults && { ...this.defaults };
      this.warnings = event.warnings ?? [];
      this.pedal = event.pedal ?? null;
      if (!this.samples) this.duration = event.duration;
      this.status = "done";
      this.#apply();
    } else if (event.type === "error") this.#fail(event.message);
  }

  // Decodes anew with some thresholds changed. While one decoding runs, only the newest
  // wish waits.
  async choose(changes) {
    this.thresholds = { ...this.thresholds, ...changes };
    this.changed();
    if (this.#decoding) return;
    try {
      while (this.#decoding !== this.thresholds) {
        this.#decoding = this.thresholds;
        const { notes, candidates } = await this.#job.decode(this.#decoding);
        this.#decoded = received(notes);
        this.#candidates = received(candidates);
        this.#apply();
      }
      this.error = "";
    } catch (error) {
      this.error = error.message;
    }
    this.#decoding = null;
    this.changed();
  }

  chooseBeats(changes) {
    this.beats = Object.freeze({ ...this.beats, ...changes });
    this.changed();
  }

  get #beatOptions() {
    const { tempo, bpm, meter } = this.beats;
    if (tempo === "none") return { tempo };
    return { tempo: tempo === "even" ? bpm : tempo, ...(meter && { meter }) };
  }

  // Puts notes (without ids) in the place of others. Returns the new ones.
  edit(replaced, put) {
    const before = new Set(this.#edits.added);
    this.#past.push(this.#edits);
    this.#future = [];
    this.#edits = withChange(this.#edits, replaced, put);
    this.#apply();
    return this.#edits.added.filter((note) => !before.has(note));
  }

  get canUndo() {
    return this.#past.length > 0;
  }

  get canRedo() {
    return this.#future.length > 0;
  }

  undo() {
    this.#step(this.#past, this.#future);
  }

  redo() {
    this.#step(this.#future, this.#past);
  }

  #step(from, to) {
    if (from.length === 0) return;
    to.push(this.#edits);
    this.#edits = from.pop();
    this.#apply();
  }

  get #bareNotes() {
    if (this.#writtenFor !== this.notes) {
      this.#written = this.notes.map(bare);
      this.#writtenFor = this.notes;
    }
    return this.#written;
  }

  // Returns a file in one of the engine's formats.
  async result(format) {
    return this.#job.result(format, this.#bareNotes, this.#beatOptions);
  }

  // Returns a score for pictures of this width: {key, meter, bpm, pages: [{width, height,
  // notes: [[id, onset, offset], ...]}, ...], picture(number)}.
  async score(width) {
    return this.#job.score(this.#bareNotes, { ...this.#beatOptions, width });
  }

  async close() {
    this.#closed = true;
    await this.#job?.close();
  }
}
