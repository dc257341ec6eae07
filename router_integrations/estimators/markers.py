"""Words that tell what kind of work a query asks for, in the languages most queries are written in."""

from __future__ import annotations

# Latin, Cyrillic and Arabic scripts have spaces: whole words are looked up in a set.
REASONING = frozenset(
    """
    why prove proof derive derivation deduce infer analyze analyse analysis compare contrast evaluate assess
    critique justify optimize optimise optimal design architecture architect plan strategy tradeoff tradeoffs
    implications counterexample theorem lemma paradox hypothesis reasoning reason diagnose root-cause debug refactor
    complexity warum beweise beweis analysiere vergleiche begründe bewerte optimiere entwirf entwickle herleiten
    pourquoi prouver démontrer démontre preuve analyse analyser comparer compare justifier évaluer optimiser
    concevoir demuestra demostrar prueba analiza comparar justifica evalúa optimiza diseña demonstre prove analise
    compare perché dimostra analizza confronta giustifica valuta ottimizza progetta почему докажи докажите доказать
    проанализируй проанализируйте сравни сравните обоснуй обоснуйте оптимизируй спроектируй لماذا أثبت برهن حلل قارن
    اشرح علل قيّم صمم استنتج kanıtla karşılaştır neden analiz tasarla waarom bewijs vergelijk dlaczego udowodnij
    porównaj chứng הוכח הוכיחו מדוע השווה נתח
    """.split()
)
MATHS = frozenset(
    """
    integral integrate derivative differentiate equation equations matrix eigenvalue eigenvalues probability
    polynomial modulo prime primes factorial logarithm convergence converges diverges topology manifold stochastic
    gradient gleichung ableitung wahrscheinlichkeit primzahlen équation dérivée intégrale probabilité ecuación
    derivada integral probabilidad уравнение интеграл производная вероятность простых معادلة تكامل مشتقة احتمال
    الأولية
    """.split()
)
CODE = frozenset(
    """
    python javascript typescript rust golang java kotlin swift sql regex regexp function class import def async
    await const let return struct enum null undefined traceback exception segfault compiler algorithm api kubernetes
    docker recursion concurrency thread threads mutex deadlock sqlalchemy pandas numpy react async-await
    """.split()
)
CONSTRAINTS = frozenset(
    """
    must exactly only without except unless ensure each every least most between json yaml xml csv table schema
    format constraint constraints requirement requirements criteria bullet bullets words sentences following given
    muss genau ohne mindestens höchstens jede jeder dois exactement sans chaque moins plus debe exactamente cada
    menos должен ровно без каждый каждого минимум يجب بالضبط بدون كل فقط
    """.split()
)
WORDS = REASONING | MATHS | CODE | CONSTRAINTS
# Chinese, Japanese, Korean, Thai and Hindi are searched as substrings: they have no spaces or many endings.
REASONING_PARTS = tuple(
    """
    为什么 為什麼 证明 證明 推导 分析 比较 比較 设计 設計 优化 評価 なぜ 証明
    왜 증명 비교 분석 설계 क्यों सिद्ध तुलना ทำไม พิสูจน์
    """.split()
)
MATHS_PARTS = tuple(
    """
    积分 導関数 导数 方程 矩阵 概率 質数 质数 素数 확률 방정식 소수 समीकरण สมการ
    """.split()
)
CODE_PARTS = tuple(
    """
    代码 函数 算法 程序 コード 関数 アルゴリズム 코드 함수 알고리즘 कोड โค้ด
    """.split()
)
CONSTRAINT_PARTS = tuple(
    """
    必须 恰好 不要 每个 至少 表格 必ず ちょうど 各 반드시 정확히 각각 केवल ต้อง
    """.split()
)
