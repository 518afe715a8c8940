/** The seed of the generated tests: FC_SEED repeats a run. */
export const seed =
  process.env.FC_SEED === undefined ? Date.now() % 2_147_483_647 : Number(process.env.FC_SEED);
console.log(`FC_SEED=${seed}`);
