// Refuses spam and replaces "darn". Fails, lies and sleeps where a message asks for it.
export async function handler({ data }) {
  const text = JSON.stringify(data);
  if (text.includes("spam")) return { decision: "deny", reason: "no advertising" };
  if (text.includes("darn")) return { decision: "replace", data: JSON.parse(text.replaceAll("darn", "****")) };
  if (text.includes("crash")) process.exit(1);
  if (text.includes("throw")) throw new Error(`cannot read ${text}`);
  if (text.includes("lie")) return { decision: "maybe" };
  if (text.includes("huge")) return { decision: "replace", data: "x".repeat(140_000) };
  if (text.includes("surrogate")) return { decision: "replace", data: "\ud800" };
  if (text.includes("sleep")) await new Promise((done) => setTimeout(done, 25_000));
  return { decision: "allow" };
}
