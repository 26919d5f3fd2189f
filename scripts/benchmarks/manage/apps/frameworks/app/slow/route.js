// Next.js: the same after 300 ms.
export const dynamic = 'force-dynamic';

export async function GET() {
  await new Promise((resolve) => setTimeout(resolve, 300));
  return new Response(`${process.pid}`);
}
