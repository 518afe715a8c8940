/** What to type next, of the things that the sample does not show; statements of one line each, in this order. */
export const suggestions: ReadonlyArray<{ readonly what: string; readonly statements: readonly string[] }> = [
  {
    what: 'Wait for a signal, then send it:',
    statements: [
      `SELECT df.start(df.wait_for_signal('go', 600) |=> 'answer' ~> 'SELECT $answer.data AS said', 'waits');`,
      `SELECT df.signal(instance_id, 'go', '"hello"') FROM df.list_instances() WHERE label = 'waits';`,
    ],
  },
  {
    what: 'Do something every minute, until it is cancelled:',
    statements: [
      `SELECT df.start(@> (df.wait_for_schedule('* * * * *') ~> 'INSERT INTO playground.heartbeats (ts) VALUES (now())'), 'ticks');`,
      `SELECT df.cancel(instance_id, 'enough') FROM df.list_instances() WHERE label = 'ticks';`,
    ],
  },
  { what: 'Look at all of it:', statements: ['SELECT * FROM df.list_instances();'] },
];
