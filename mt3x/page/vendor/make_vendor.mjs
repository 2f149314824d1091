// Writes the bundles of this folder and their manifest:
//
//     npm install --ignore-scripts esbuild@0.28.2 preact@11.2.0 htm@3.1.1 \
//         fft.js@4.0.4 spessasynth_lib@4.3.14 spessasynth_core@4.3.22 \
//         onnxruntime-web@1.30.0
//     node make_vendor.mjs
//
// Run it from the folder that holds node_modules. The page itself needs no build.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

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
// What is bundled already comes without its last line, which names a source map that is
// not here.
const BUNDLED = {
  "spessasynth_processor.js": {
    packages: SYNTHESIZER,
    source: "spessasynth_lib/dist/spessasynth_processor.min.js",
  },
  "ort.js": {
    packages: ["onnxruntime-web"],
    source: "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
  },
};
for (const [file, { source }] of Object.entries(BUNDLED)) {
  const text = readFileSync(`${modules}/${source}`, "utf-8");
  writeFileSync(here + file, text.replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n"));
}
// Only `mt3x web` needs it, and unpacks it.
const wasm = readFileSync(
  `${modules}/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm`,
);
writeFileSync(`${here}ort.wasm.gz`, gzipSync(wasm, { level: 9 }));

const files = {
  ...BUNDLES,
  ...BUNDLED,
  "ort.wasm.gz": { packages: ["onnxruntime-web"] },
};
const manifest = Object.entries(files).map(([file, { packages }]) => {
  const bytes = readFileSync(here + file);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  return { file, sha256, bytes: bytes.length, packages: packages.map(described) };
});
writeFileSync(`${here}manifest.json`, `${JSON.stringify(manifest, null, 2)}\n`);

// npm's package has no licence text; this is its repository's.
const ORT_LICENSE = `onnxruntime-web

MIT License

Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.

The notices of the software that it contains:
https://github.com/microsoft/onnxruntime/blob/v1.30.0/ThirdPartyNotices.txt
`;

const names = [...new Set(Object.values(files).flatMap(({ packages }) => packages))];
const texts = names.map((name) => {
  for (const file of ["LICENSE", "LICENSE.md", "LICENSE.txt"]) {
    try {
      return `${name}\n\n${readFileSync(`${modules}/${name}/${file}`, "utf-8").trim()}\n`;
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  }
  if (name === "onnxruntime-web") return ORT_LICENSE;
  // fft.js prints its licence in its README only.
  const readme = readFileSync(`${modules}/${name}/README.md`, "utf-8");
  return `${name}\n\n${readme.slice(readme.indexOf("LICENSE")).trim()}\n`;
});
writeFileSync(`${here}LICENSES.txt`, texts.join(`\n${"-".repeat(72)}\n\n`));
