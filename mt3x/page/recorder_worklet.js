// Hands on what the microphone hears, first channel, as blocks of samples.
registerProcessor(
  "mt3x-recorder",
  class extends AudioWorkletProcessor {
    constructor() {
      super();
      this.block = new Float32Array(2048);
      this.filled = 0;
    }

    process([[channel]]) {
      if (!channel) return true;
      this.block.set(channel, this.filled);
      this.filled += channel.length;
      if (this.filled === this.block.length) {
        this.port.postMessage(this.block);
        this.filled = 0;
      }
      return true;
    }
  },
);
