/**
 * Node answers SIGUSR1 by listening for a debugger on loopback, where every account of the machine can then read all that
 * this process holds. Other poolers pause on that signal, so somebody will send it; here it does nothing.
 */
export function ignoreDebuggerSignal(): void {
  process.on('SIGUSR1', () => {});
}
