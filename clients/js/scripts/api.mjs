// Writes API.md from the types: each exported declaration of the package, with its comments. With --check it compares.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import ts from "typescript";

const entries = { roomchat: "index", "roomchat/react": "react", "roomchat/store": "store", "roomchat/direct": "direct", "roomchat/presence": "presence" };
const files = Object.values(entries).map((name) => `dist/${name}.d.ts`);
const program = ts.createProgram(files, { module: ts.ModuleKind.NodeNext, target: ts.ScriptTarget.ES2022, lib: ["lib.es2023.d.ts", "lib.dom.d.ts"] });
const checker = program.getTypeChecker();
let text = "# API\n\nWritten by `scripts/api.mjs` from the types.\n";

for (const [name, file] of Object.entries(entries)) {
  text += `\n## ${name}\n`;
  const module = checker.getSymbolAtLocation(program.getSourceFile(`dist/${file}.d.ts`));
  for (const symbol of checker.getExportsOfModule(module)) {
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
    for (const node of target.declarations) {
      const about = ts.displayPartsToString(target.getDocumentationComment(checker));
      const code = node.getText().replace(/^export (declare )?/, "").replace(/^    (private|#private).*\n/gm, "");
      text += `\n### ${symbol.name}\n\n${about ? `${about}\n\n` : ""}\`\`\`ts\n${code}\n\`\`\`\n`;
    }
  }
}

if (!process.argv.includes("--check")) writeFileSync("API.md", text);
else if (!existsSync("API.md") || readFileSync("API.md", "utf8") !== text) {
  console.error("API.md is not that of the types: run node scripts/api.mjs");
  process.exit(1);
}
