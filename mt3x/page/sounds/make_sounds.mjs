// Cuts the sound banks of the page from Debian's fluidr3mono-gm-soundfont (MIT):
//
//     apt-get install fluidr3mono-gm-soundfont
//     npm install --ignore-scripts spessasynth_core@4.3.22
//     node make_sounds.mjs [FluidR3Mono_GM.sf3]
//
// Run it from the folder that holds node_modules; the banks land beside this script.
// piano.sf3 holds the grand piano, band.sf3 one program for each other class of
// mt3x/music/instrument_classes.py and a drum kit. Samples stay Vorbis, as they are.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.cwd()}/`);
const { BasicSoundBank, SoundBankLoader } = await import(
  pathToFileURL(require.resolve("spessasynth_core"))
);

const source = process.argv[2] ?? "/usr/share/sounds/sf3/FluidR3Mono_GM.sf3";
const PIANO = [0];
const BAND = [
  4, 11, 16, 21, 25, 27, 30, 33, 40, 42, 45, 48, 53, 56, 57, 60, 65, 68, 70, 71, 73, 80,
  89,
];

await BasicSoundBank.isSF3DecoderReady;

async function cut(name, keep) {
  const bytes = readFileSync(source);
  const bank = SoundBankLoader.fromArrayBuffer(
    bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
  );
  for (const preset of [...bank.presets]) if (!keep(preset)) bank.deletePreset(preset);
  bank.removeUnusedElements();
  // The bank's own date, so that the same source gives the same bytes.
  bank.soundBankInfo.creationDate = new Date("2020-01-01T00:00:00Z");
  const cutBytes = Buffer.from(await bank.writeSF2());
  writeFileSync(new URL(name, import.meta.url), cutBytes);
  console.log(`${name}: ${bank.presets.length} presets, ${cutBytes.length} bytes`);
}

const melodic = (preset, programs) =>
  !preset.isGMGSDrum && preset.bankMSB === 0 && programs.includes(preset.program);
await cut("piano.sf3", (preset) => melodic(preset, PIANO));
await cut(
  "band.sf3",
  (preset) => melodic(preset, BAND) || (preset.isGMGSDrum && preset.program === 0),
);
