/** Waiting in tests without sleeping: asks again and again until the check does not throw any more. */
export async function eventually(check: () => Promise<void> | void, timeoutMs = 10_000): Promise<void> {
  const until = performance.now() + timeoutMs;
  for (;;) {
    try {
      await check();
      return;
    } catch (error) {
      if (performance.now() > until) throw error;
      await new Promise((resolve) => void setTimeout(resolve, 5));
    }
  }
}
