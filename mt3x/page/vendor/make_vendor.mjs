// Writes the bundles of this folder and their manifest:
//
//     npm install --ignore-scripts esbuild@0.28.2 preact@11.2.0 htm@3.1.1 \
//         fft.js@4.0.4 spessasynth_lib@4.3.14 spessasynth_core@4.3.22
//     node make_vendor.mjs
//
// Run it from the folder that holds node_modules. The page itself needs no build.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const modules = `${process.cwd()}/node_modules`;
const { buildSync } = createRequire(`${process.cwd()}/`)("esbuild");

const SYNTHESIZER = ["spessasynth_lib", "spessasynth_core", "stb-vorbis"];
const BUNDLES = {
  "preact.js": {
    packages: ["preact", "htm"],
    source: `
      import { h } from "preact";
      import htm from "htm";
      export { h, render } from "preact";
      export * from "preact/hooks";
      export const html = htm.bind(h);`,
  },
  "fft.js": { packages: ["fft.js"], source: `export { default as FFT } from "fft.js";` },
  "spessasynth.js": {
    packages: SYNTHESIZER,
    source: `export { WorkletSynthesizer } from "spessasynth_lib";`,
  },
};

function described(name) {
  const { version, license } = JSON.parse(
    readFileSync(`${modules}/${name}/package.json`, "utf-8"),
  );
  return { name, version, license };
}

for (const [file, { source }] of Object.entries(BUNDLES)) {
  buildSync({
    stdin: { contents: source, resolveDir: process.cwd() },
    outfile: here + file,
    bundle: true,
    format: "esm",
    minify: true,
    target: "es2022",
    legalComments: "none",
  });
}
// Without the last line, which names a source map that is not here.
writeFileSync(
  `${here}spessasynth_processor.js`,
  readFileSync(
    `${modules}/spessasynth_lib/dist/spessasynth_processor.min.js`,
    "utf-8",
  ).replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n"),
);

const files = {
  ...BUNDLES,
  "spessasynth_processor.js": { packages: SYNTHESIZER },
};
const manifest = Object.entries(files).map(([file, { packages }]) => {
  const bytes = readFileSync(here + file);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { file, sha256, bytes: bytes.length, packages: packages.map(described) };
});
writeFileSync(`${here}manifest.json`, `${JSON.stringify(manifest, null, 2)}\n`);

const names = [...new Set(Object.values(files).flatMap(({ packages }) => packages))];
const texts = names.map((name) => {
  for (const file of ["LICENSE", "LICENSE.md", "LICENSE.txt"]) {
    try {
      return `${name}\n\n${readFileSync(`${modules}/${name}/${file}`, "utf-8").trim()}\n`;
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  }
  // fft.js prints its licence in its README only.
  const readme = readFileSync(`${modules}/${name}/README.md`, "utf-8");
  return `${name}\n\n${readme.slice(readme.indexOf("LICENSE")).trim()}\n`;
});
writeFileSync(`${here}LICENSES.txt`, texts.join(`\n${"-".repeat(72)}\n\n`));
