// The parts of an answer that is written, made of the chunks of the AI SDK's stream.

/** Return the parts with what a chunk adds. The parts that were given stay as they are. */
export function grown(parts, chunk) {
  const made = [...parts];
  const at = (test) => made.findLastIndex(test);
  const change = (place, changes) => {
    if (place >= 0) made[place] = { ...made[place], ...changes(made[place]) };
  };
  const call = at((part) => part.toolCallId !== undefined && part.toolCallId === chunk.toolCallId);
  switch (chunk.type) {
    case "text-start":
    case "reasoning-start":
      made.push({ type: chunk.type.replace("-start", ""), text: "", state: "streaming", since: Date.now() });
      break;
    case "text-delta":
    case "reasoning-delta":
      change(at((part) => part.state === "streaming"), ({ text }) => ({ text: text + chunk.delta }));
      break;
    case "text-end":
    case "reasoning-end":
      change(at((part) => part.state === "streaming"), () => ({ state: "done", seconds: chunk.providerMetadata?.voltmem?.seconds }));
      break;
    case "tool-input-start":
      made.push({ type: `tool-${chunk.toolName}`, toolCallId: chunk.toolCallId, state: "input-streaming", input: "" });
      break;
    case "tool-input-delta":
      change(call, ({ input }) => ({ input: input + chunk.inputTextDelta }));
      break;
    case "tool-input-available": // again for a call that was approved, and runs now
      if (call < 0) made.push({ type: `tool-${chunk.toolName}`, toolCallId: chunk.toolCallId });
      change(call < 0 ? made.length - 1 : call, () => ({ state: "input-available", input: chunk.input }));
      break;
    case "tool-approval-request":
      change(call, () => ({ state: "approval-requested", approval: { id: chunk.approvalId } }));
      break;
    case "tool-output-denied":
      change(call, () => ({ state: "output-denied", approval: { approved: false, reason: chunk.reason } }));
      break;
    case "tool-output-available":
      change(call, () => ({ state: "output-available", output: chunk.output }));
      break;
    case "tool-output-error":
      change(call, () => ({ state: "output-error", errorText: chunk.errorText }));
      break;
    case "file":
    case "source-url":
      made.push(chunk);
      break;
  }
  return made;
}
